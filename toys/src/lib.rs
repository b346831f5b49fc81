//! Three small protocols that prove the trait, one of them the tutorial.
