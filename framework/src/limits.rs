/// Bounds that every decoder keeps, so that a peer's bytes cost bounded memory and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame, in bytes, all parts included. Default 32 MiB.
    pub max_frame: usize,
    /// The longest header block (or whatever a protocol has in its place), in bytes. Default 64 KiB.
    pub max_header: usize,
    /// The deepest nesting of values. Default 64.
    pub max_depth: usize,
    /// The most elements in one collection. Default 1,048,576.
    pub max_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: 32 << 20, max_header: 64 << 10, max_depth: 64, max_elements: 1 << 20 }
    }
}
