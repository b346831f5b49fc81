//! Redis from outside: conformance, vectors, refusals.

mod captures;
mod common;
mod conformance;
mod refusals;
mod vectors;
