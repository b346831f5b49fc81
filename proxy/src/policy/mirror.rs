use std::sync::Arc;

use crate::config::{self, MirrorOnly};

/// Which requests are copied, and to which cluster.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// Whether answers are compared.
    pub compare: bool,
    share: f64,
    only: Option<MirrorOnly>,
}

impl Mirror {
    /// From the configuration; `None` where nothing is copied.
    pub fn compile(config: &config::Mirror) -> Option<Self> {
        let share = config.percent.fraction();
        (share > 0.0).then(|| Self {
            cluster: config.cluster.as_str().into(),
            compare: config.compare,
            share,
            only: config.only,
        })
    }

    /// Whether the next request is copied. `reads`: it is known to change nothing.
    pub fn wants(&self, reads: bool, rng: &mut fastrand::Rng) -> bool {
        let fits = match self.only {
            None => true,
            Some(MirrorOnly::Reads) => reads,
            Some(MirrorOnly::Writes) => !reads,
        };
        fits && (self.share >= 1.0 || rng.f64() < self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(yaml: &str) -> Option<Mirror> {
        Mirror::compile(&serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn what_is_copied() {
        assert!(mirror("{ cluster: c, percent: 0 }").is_none());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut count = |yaml: &str, reads| {
            let mirror = mirror(yaml).unwrap();
            (0..10_000).filter(|_| mirror.wants(reads, &mut rng)).count()
        };
        assert_eq!(count("{ cluster: c }", true), 10_000);
        assert_eq!(count("{ cluster: c, only: reads }", true), 10_000);
        assert_eq!(count("{ cluster: c, only: reads }", false), 0);
        assert_eq!(count("{ cluster: c, only: writes }", true), 0);
        assert_eq!(count("{ cluster: c, only: writes }", false), 10_000);
        let tenth = count("{ cluster: c, percent: 10 }", true);
        assert!((850..1150).contains(&tenth), "{tenth}");
    }
}
