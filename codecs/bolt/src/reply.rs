//! Answers that the proxy gives itself.

use wiremesh::{Failure, Kind, Status};

use crate::{BoltFrame, Builder, RequestHead, ResponseStatus};

pub(crate) fn reply(request: &RequestHead, failure: &Failure) -> Option<BoltFrame> {
    if request.one_way {
        return None;
    }
    let status = match failure.status {
        Status::Ok => ResponseStatus::Success,
        Status::AppError | Status::Unauthenticated | Status::Denied => {
            ResponseStatus::ServerException
        }
        Status::BadRequest => ResponseStatus::ServerDeserialException,
        Status::NotFound => ResponseStatus::NoProcessor,
        Status::Timeout => ResponseStatus::Timeout,
        Status::Overloaded => ResponseStatus::ServerThreadPoolBusy,
        Status::Unavailable => ResponseStatus::ErrorComm,
        Status::Internal => ResponseStatus::Error,
        Status::Unknown => ResponseStatus::Unknown,
    };
    Builder {
        version: request.version,
        kind: Kind::Response,
        id: request.id,
        codec: request.codec,
        status: status.code(),
        ..Builder::default()
    }
    .build()
    .ok()
}
