//! Seeded simulations of the engines, against models that are too simple to be wrong.

mod keepalive;
mod mux;
mod pipeline;
mod protocols;
mod reorder;
mod session;
