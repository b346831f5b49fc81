//! Bolt from outside: captures, vectors, refusals, edits, answers.

mod captures;
mod common;
mod conformance;
mod edits;
mod refusals;
mod replies;
mod traces;
mod vectors;
