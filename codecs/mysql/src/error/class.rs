use wiremesh::Status;

use crate::reply::ErrPacket;

/// Errors that are told apart: number, name in the server's documentation, what it means here.
const KNOWN: [(u16, &str, Status); 76] = [
    (1021, "ER_DISK_FULL", Status::Internal),
    (1030, "ER_GET_ERRNO", Status::Internal),
    (1034, "ER_NOT_KEYFILE", Status::Internal),
    (1037, "ER_OUTOFMEMORY", Status::Internal),
    (1038, "ER_OUT_OF_SORTMEMORY", Status::AppError),
    (1040, "ER_CON_COUNT_ERROR", Status::Overloaded),
    (1041, "ER_OUT_OF_RESOURCES", Status::Internal),
    (1043, "ER_HANDSHAKE_ERROR", Status::BadRequest),
    (1044, "ER_DBACCESS_DENIED_ERROR", Status::Denied),
    (1045, "ER_ACCESS_DENIED_ERROR", Status::Unauthenticated),
    (1046, "ER_NO_DB_ERROR", Status::BadRequest),
    (1047, "ER_UNKNOWN_COM_ERROR", Status::BadRequest),
    (1048, "ER_BAD_NULL_ERROR", Status::AppError),
    (1049, "ER_BAD_DB_ERROR", Status::NotFound),
    (1050, "ER_TABLE_EXISTS_ERROR", Status::AppError),
    (1051, "ER_BAD_TABLE_ERROR", Status::NotFound),
    (1053, "ER_SERVER_SHUTDOWN", Status::Unavailable),
    (1054, "ER_BAD_FIELD_ERROR", Status::BadRequest),
    (1062, "ER_DUP_ENTRY", Status::AppError),
    (1064, "ER_PARSE_ERROR", Status::BadRequest),
    (1077, "ER_NORMAL_SHUTDOWN", Status::Unavailable),
    (1079, "ER_SHUTDOWN_COMPLETE", Status::Unavailable),
    (1094, "ER_NO_SUCH_THREAD", Status::NotFound),
    (1105, "ER_UNKNOWN_ERROR", Status::AppError),
    (1114, "ER_RECORD_FILE_FULL", Status::AppError),
    (1129, "ER_HOST_IS_BLOCKED", Status::Overloaded),
    (1130, "ER_HOST_NOT_PRIVILEGED", Status::Denied),
    (1136, "ER_WRONG_VALUE_COUNT_ON_ROW", Status::BadRequest),
    (1142, "ER_TABLEACCESS_DENIED_ERROR", Status::Denied),
    (1143, "ER_COLUMNACCESS_DENIED_ERROR", Status::Denied),
    (1146, "ER_NO_SUCH_TABLE", Status::NotFound),
    (1152, "ER_ABORTING_CONNECTION", Status::Unavailable),
    (1153, "ER_NET_PACKET_TOO_LARGE", Status::BadRequest),
    (1156, "ER_NET_PACKETS_OUT_OF_ORDER", Status::BadRequest),
    (1158, "ER_NET_READ_ERROR", Status::Unavailable),
    (1159, "ER_NET_READ_INTERRUPTED", Status::Timeout),
    (1160, "ER_NET_ERROR_ON_WRITE", Status::Unavailable),
    (1161, "ER_NET_WRITE_INTERRUPTED", Status::Unavailable),
    (1184, "ER_NEW_ABORTING_CONNECTION", Status::Unavailable),
    (1203, "ER_TOO_MANY_USER_CONNECTIONS", Status::Overloaded),
    (1205, "ER_LOCK_WAIT_TIMEOUT", Status::AppError),
    (1210, "ER_WRONG_ARGUMENTS", Status::BadRequest),
    (1213, "ER_LOCK_DEADLOCK", Status::AppError),
    (1216, "ER_NO_REFERENCED_ROW", Status::AppError),
    (1217, "ER_ROW_IS_REFERENCED", Status::AppError),
    (1226, "ER_USER_LIMIT_REACHED", Status::Overloaded),
    (1227, "ER_SPECIFIC_ACCESS_DENIED_ERROR", Status::Denied),
    (1235, "ER_NOT_SUPPORTED_YET", Status::BadRequest),
    (1243, "ER_UNKNOWN_STMT_HANDLER", Status::NotFound),
    (1251, "ER_NOT_SUPPORTED_AUTH_MODE", Status::Unauthenticated),
    (1264, "ER_WARN_DATA_OUT_OF_RANGE", Status::AppError),
    (1290, "ER_OPTION_PREVENTS_STATEMENT", Status::AppError),
    (1305, "ER_SP_DOES_NOT_EXIST", Status::NotFound),
    (1317, "ER_QUERY_INTERRUPTED", Status::AppError),
    (1364, "ER_NO_DEFAULT_FOR_FIELD", Status::AppError),
    (1366, "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", Status::AppError),
    (1370, "ER_PROCACCESS_DENIED_ERROR", Status::Denied),
    (1406, "ER_DATA_TOO_LONG", Status::AppError),
    (1451, "ER_ROW_IS_REFERENCED_2", Status::AppError),
    (1452, "ER_NO_REFERENCED_ROW_2", Status::AppError),
    (1461, "ER_MAX_PREPARED_STMT_COUNT_REACHED", Status::Overloaded),
    (1690, "ER_DATA_OUT_OF_RANGE", Status::AppError),
    (1698, "ER_ACCESS_DENIED_NO_PASSWORD_ERROR", Status::Unauthenticated),
    (1792, "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", Status::AppError),
    (1815, "ER_INTERNAL_ERROR", Status::Internal),
    (1820, "ER_MUST_CHANGE_PASSWORD", Status::Denied),
    (1835, "ER_MALFORMED_PACKET", Status::BadRequest),
    (1836, "ER_READ_ONLY_MODE", Status::AppError),
    (1862, "ER_MUST_CHANGE_PASSWORD_LOGIN", Status::Unauthenticated),
    (1927, "ER_CONNECTION_KILLED", Status::Unavailable),
    (1969, "ER_STATEMENT_TIMEOUT", Status::Timeout),
    (3024, "ER_QUERY_TIMEOUT", Status::Timeout),
    (3118, "ER_ACCOUNT_HAS_BEEN_LOCKED", Status::Unauthenticated),
    (3159, "ER_SECURE_TRANSPORT_REQUIRED", Status::Unauthenticated),
    (3168, "ER_SERVER_ISNT_AVAILABLE", Status::Unavailable),
    (4031, "ER_CLIENT_INTERACTION_TIMEOUT", Status::Unavailable),
];

/// Of the others the first two characters of the SQLSTATE tell, where the standard or servers give them a meaning.
const CLASSES: [(&[u8; 2], &str, Status); 20] = [
    (b"01", "SQLSTATE_01", Status::AppError),
    (b"02", "SQLSTATE_02", Status::AppError),
    (b"07", "SQLSTATE_07", Status::BadRequest),
    (b"08", "SQLSTATE_08", Status::Unavailable),
    (b"0A", "SQLSTATE_0A", Status::BadRequest),
    (b"20", "SQLSTATE_20", Status::AppError),
    (b"21", "SQLSTATE_21", Status::BadRequest),
    (b"22", "SQLSTATE_22", Status::AppError),
    (b"23", "SQLSTATE_23", Status::AppError),
    (b"24", "SQLSTATE_24", Status::AppError),
    (b"25", "SQLSTATE_25", Status::AppError),
    (b"28", "SQLSTATE_28", Status::Unauthenticated),
    (b"2F", "SQLSTATE_2F", Status::AppError),
    (b"3D", "SQLSTATE_3D", Status::BadRequest),
    (b"40", "SQLSTATE_40", Status::AppError),
    (b"42", "SQLSTATE_42", Status::BadRequest),
    (b"44", "SQLSTATE_44", Status::AppError),
    (b"45", "SQLSTATE_45", Status::AppError),
    (b"70", "SQLSTATE_70", Status::AppError),
    (b"HY", "SQLSTATE_HY", Status::AppError),
];

fn known(error: &ErrPacket) -> (&'static str, Status) {
    let by_number = KNOWN.binary_search_by_key(&error.number, |known| known.0).ok();
    let by_class = || CLASSES.iter().find(|class| error.sqlstate.starts_with(class.0));
    by_number
        .and_then(|index| KNOWN.get(index))
        .map(|known| (known.1, known.2))
        .or_else(|| by_class().map(|class| (class.1, class.2)))
        .unwrap_or(("OTHER", Status::AppError))
}

/// What an error is called in metrics: by its name, or the class of its SQLSTATE. One of a fixed set.
pub fn class(error: &ErrPacket) -> &'static str {
    known(error).0
}

/// What an error means.
pub fn status(error: &ErrPacket) -> Status {
    known(error).1
}

/// Whether an error that sounds like the server's fault is about this user, or this statement, only: too many
/// connections of one user, a time limit that the client has set.
pub fn is_partial(error: &ErrPacket) -> bool {
    matches!(error.number, 1129 | 1152 | 1184 | 1203 | 1226 | 1461 | 1927 | 1969 | 3024 | 4031)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: u16, sqlstate: &[u8; 5]) -> ErrPacket {
        ErrPacket { number, sqlstate: *sqlstate }
    }

    #[test]
    fn known_ones_are_in_order_and_named_once() {
        assert!(KNOWN.is_sorted_by(|a, b| a.0 < b.0));
        let mut names: Vec<_> = KNOWN.iter().map(|known| known.1).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOWN.len());
    }

    #[test]
    fn by_number_before_class() {
        let denied = error(1045, b"28000");
        assert_eq!(class(&denied), "ER_ACCESS_DENIED_ERROR");
        assert_eq!(status(&denied), Status::Unauthenticated);
        let unknown = error(4444, b"23000");
        assert_eq!((class(&unknown), status(&unknown)), ("SQLSTATE_23", Status::AppError));
        let strange = error(4444, b"~~000");
        assert_eq!((class(&strange), status(&strange)), ("OTHER", Status::AppError));
    }

    #[test]
    fn what_is_held_against_a_server() {
        for number in [1040, 1053, 1158, 1037] {
            let error = error(number, b"HY000");
            assert!(status(&error).is_upstream_fault() && !is_partial(&error), "{number}");
        }
        for number in [1062, 1064, 1146, 1205, 1213, 1317] {
            assert!(!status(&error(number, b"HY000")).is_upstream_fault(), "{number}");
        }
        for number in [1203, 1226, 3024, 1969] {
            let error = error(number, b"HY000");
            assert!(status(&error).is_upstream_fault() && is_partial(&error), "{number}");
        }
    }
}
