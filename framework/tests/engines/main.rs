//! Seeded simulations of the engines, against models that are too simple to be wrong.

mod mux;
#[expect(dead_code)]
mod protocols;
