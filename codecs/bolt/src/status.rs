use wiremesh::Status;

/// `respStatus` of a response. The names are SOFABolt's (`ResponseStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseStatus {
    /// 0x00
    Success,
    /// 0x01
    Error,
    /// 0x02: the processor threw; the content is an `RpcServerException`.
    ServerException,
    /// 0x03
    Unknown,
    /// 0x04
    ServerThreadPoolBusy,
    /// 0x05
    ErrorComm,
    /// 0x06
    NoProcessor,
    /// 0x07
    Timeout,
    /// 0x08
    ClientSendError,
    /// 0x09
    CodecException,
    /// 0x10
    ConnectionClosed,
    /// 0x11
    ServerSerialException,
    /// 0x12
    ServerDeserialException,
    /// Any other code.
    Other(u16),
}

impl ResponseStatus {
    /// Every status that SOFABolt defines.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Error,
        Self::ServerException,
        Self::Unknown,
        Self::ServerThreadPoolBusy,
        Self::ErrorComm,
        Self::NoProcessor,
        Self::Timeout,
        Self::ClientSendError,
        Self::CodecException,
        Self::ConnectionClosed,
        Self::ServerSerialException,
        Self::ServerDeserialException,
    ];

    /// The code on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 0x00,
            Self::Error => 0x01,
            Self::ServerException => 0x02,
            Self::Unknown => 0x03,
            Self::ServerThreadPoolBusy => 0x04,
            Self::ErrorComm => 0x05,
            Self::NoProcessor => 0x06,
            Self::Timeout => 0x07,
            Self::ClientSendError => 0x08,
            Self::CodecException => 0x09,
            Self::ConnectionClosed => 0x10,
            Self::ServerSerialException => 0x11,
            Self::ServerDeserialException => 0x12,
            Self::Other(code) => code,
        }
    }

    /// The status that comes nearest to a neutral one.
    pub fn nearest(status: Status) -> Self {
        match status {
            Status::Ok => Self::Success,
            Status::AppError | Status::Unauthenticated | Status::Denied => Self::ServerException,
            Status::BadRequest => Self::ServerDeserialException,
            Status::NotFound => Self::NoProcessor,
            Status::Timeout => Self::Timeout,
            Status::Overloaded => Self::ServerThreadPoolBusy,
            Status::Unavailable => Self::ErrorComm,
            Status::Internal => Self::Error,
            Status::Unknown => Self::Unknown,
        }
    }

    /// In the vocabulary of all protocols. Success is [`Status::Ok`] here; whether the content is an error of the
    /// application's is for the frame to say.
    pub fn neutral(self) -> Status {
        match self {
            Self::Success => Status::Ok,
            Self::ServerException => Status::AppError,
            Self::ServerThreadPoolBusy => Status::Overloaded,
            Self::NoProcessor => Status::NotFound,
            Self::Timeout => Status::Timeout,
            Self::CodecException | Self::ServerDeserialException => Status::BadRequest,
            Self::ErrorComm | Self::ClientSendError | Self::ConnectionClosed => Status::Unavailable,
            Self::Error | Self::ServerSerialException => Status::Internal,
            Self::Unknown | Self::Other(_) => Status::Unknown,
        }
    }
}

impl From<u16> for ResponseStatus {
    fn from(code: u16) -> Self {
        Self::ALL.into_iter().find(|s| s.code() == code).unwrap_or(Self::Other(code))
    }
}
