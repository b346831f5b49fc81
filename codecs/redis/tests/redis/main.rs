//! Redis from outside: conformance, vectors, refusals.

mod conformance;
