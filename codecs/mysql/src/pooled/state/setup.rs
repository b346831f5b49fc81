use crate::collation::{Collation, is_mariadb};

/// The collation that upstream connections log in with, and that [`setup`] sets: all servers know it. What MariaDB takes after
/// `COM_RESET_CONNECTION` is that of the login, and if it did not know that one, that of some other connection before.
pub const LOGIN_COLLATION: Collation = Collation { id: 45, name: "utf8mb4_general_ci" };

/// The statement that switches tracking on, at a server that greets with this version. To be sent after each login and
/// each `COM_RESET_CONNECTION`; what its OK tells is nothing of a client's.
pub fn setup(version: &[u8]) -> &'static str {
    // After a reset MySQL has its own default character set, MariaDB that of the login.
    macro_rules! tracked {
        ($($more:literal)?) => {
            concat!(
                "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, @@session.session_track_schema=ON, ",
                "@@session.session_track_state_change=ON, @@session.session_track_system_variables='*', ",
                "@@session.session_track_transaction_info='CHARACTERISTICS'",
                $($more)?
            )
        };
    }
    match is_mariadb(version) {
        true => tracked!(),
        false => tracked!(", @@session.session_track_gtids='OWN_GTID'"),
    }
}
