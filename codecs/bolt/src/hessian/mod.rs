//! The little of Hessian 2 that a proxy needs: to find a string in the head of a SOFARPC request, and to write the
//! bodies of the answers that it gives itself.

mod read;
mod write;

pub(crate) use read::string_field;
pub(crate) use write::{
    SERVER_EXCEPTION, SofaThrowable, server_exception, sofa_error, sofa_result, sofa_thrown, string,
};
