//! Redis from outside: conformance, vectors, refusals.

mod captures;
mod common;
mod conformance;
mod cost;
mod hostile;
mod random;
mod refusals;
mod vectors;
