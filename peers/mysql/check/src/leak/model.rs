use super::defaults::Begin;

/// What a session has of its own, by what it has said so far.
pub(super) struct Model {
    pub(super) begin: Begin,
    pub(super) collation: u8,
    /// `@v0` and so on; all clients use the same names.
    pub(super) user: [Option<String>; 4],
    /// By name, as the statement had it.
    pub(super) variables: Vec<(&'static str, &'static str)>,
    pub(super) charsets: Option<&'static str>,
    pub(super) schema: Option<&'static str>,
    /// `leak_a.t0` and so on.
    pub(super) tables: [Option<String>; 3],
    pub(super) locks: [bool; 2],
    pub(super) autocommit: bool,
    /// A transaction was begun by a statement that does.
    pub(super) open: bool,
    /// Ids of rows that are not committed.
    pub(super) pending: Vec<u64>,
    /// How many rows are committed.
    pub(super) settled: usize,
    /// How many rows were pending at each.
    pub(super) savepoints: Vec<usize>,
    /// `p0` and so on.
    pub(super) named: [Option<String>; 2],
    pub(super) statements: Vec<Statement>,
    /// What was inserted last, where this session has.
    pub(super) last_insert_id: Option<u64>,
    /// `h0` and so on: the row that was read last.
    pub(super) handlers: [Option<usize>; 2],
    pub(super) sequence: Option<String>,
}

/// One that was prepared.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) id: u32,
    pub(super) what: What,
    /// It was executed before, so that parameters' types are known.
    pub(super) told: bool,
    pub(super) closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A parameter, a user variable, and the schema, which is that as of then, too.
    Echo(Option<&'static str>),
    /// A table's name, which is that of the schema as of then.
    Here(&'static str),
}

impl Model {
    pub(super) fn new(begin: Begin, collation: u8, schema: Option<&'static str>) -> Self {
        Self {
            begin,
            collation,
            user: Default::default(),
            variables: Vec::new(),
            charsets: None,
            schema,
            tables: Default::default(),
            locks: [false; 2],
            autocommit: true,
            open: false,
            pending: Vec::new(),
            settled: 0,
            savepoints: Vec::new(),
            named: Default::default(),
            statements: Vec::new(),
            last_insert_id: None,
            handlers: [None; 2],
            sequence: None,
        }
    }

    /// Rows that are inserted now are not committed at once.
    pub(super) fn in_transaction(&self) -> bool {
        self.open || !self.autocommit
    }

    pub(super) fn variable(&self, name: &str) -> Option<&'static str> {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, literal)| *literal)
    }

    pub(super) fn set_variable(&mut self, name: &'static str, literal: Option<&'static str>) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.extend(literal.map(|literal| (name, literal)));
    }

    /// What was pending is committed, or gone.
    pub(super) fn end_transaction(&mut self, committed: bool) {
        self.settled += if committed { self.pending.len() } else { 0 };
        self.pending.clear();
        self.savepoints.clear();
        self.open = false;
    }
}
