use crate::Capabilities;

/// Which upstream connections a client may be lent: as whom they were logged in, and with which of the capabilities that
/// change what statements mean. One number, as the proxy keeps its pools by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

impl Lane {
    /// The bits of [`key`](Self::key).
    pub(super) const KEYS: u64 = u64::MAX << (Self::FLAGS.len() + 1);

    /// For sessions in a schema: once it has one, a connection has no way back.
    const SCHEMA: u64 = 1 << Self::FLAGS.len();

    /// The capabilities of a client that its lane has, too.
    const FLAGS: [Capabilities; 6] = [
        Capabilities::FOUND_ROWS,
        Capabilities::MULTI_STATEMENTS,
        Capabilities::LOCAL_FILES,
        // Without them a `CALL` fails that would have more than one result, or has none of its OUT parameters.
        Capabilities::MULTI_RESULTS,
        Capabilities::PS_MULTI_RESULTS,
        // Requests of a client that has them are laid out otherwise: as they come they are passed on.
        Capabilities::QUERY_ATTRIBUTES,
    ];

    /// The lane of clients that agreed on these capabilities, and for whom the proxy logs in [so](super::Upstream::key).
    pub fn new(key: u64, agreed: Capabilities) -> Self {
        let flags = Self::FLAGS.iter().enumerate().filter(|(_, flag)| agreed.has(**flag));
        Self(flags.fold(key & Self::KEYS, |lane, (bit, _)| lane | (1 << bit)))
    }

    /// That of clients whose session has a schema, or has none.
    #[must_use]
    pub fn in_schema(self, schema: bool) -> Self {
        Self(if schema { self.0 | Self::SCHEMA } else { self.0 & !Self::SCHEMA })
    }

    /// Whether its clients' sessions have a schema.
    pub fn has_schema(self) -> bool {
        self.0 & Self::SCHEMA != 0
    }

    /// By what the proxy logs in: the same for the same name and password, in whatever configuration.
    pub fn key(self) -> u64 {
        self.0 & Self::KEYS
    }

    /// The capabilities of clients that its connections have, too.
    pub fn capabilities(self) -> Capabilities {
        let flags = Self::FLAGS.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        flags.fold(Capabilities(0), |all, (_, flag)| all | *flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_keep_apart_what_has_to_be() {
        let mut seen = std::collections::HashSet::new();
        for key in [0x100, 0x200, u64::MAX] {
            for bits in 0..1_u64 << Lane::FLAGS.len() {
                let set = Lane::FLAGS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
                let flags = set.fold(Capabilities(0), |all, (_, flag)| all | *flag);
                let lane = Lane::new(key, flags | Capabilities::DEPRECATE_EOF);
                assert_eq!((lane.key(), lane.capabilities()), (key & Lane::KEYS, flags));
                assert!(seen.insert(lane));
            }
        }
    }
}
