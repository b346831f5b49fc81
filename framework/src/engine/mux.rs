use std::{marker::PhantomData, time::Instant};

use super::{Engine, Received, Slot};
use crate::correlation::{Expect, Multiplexed};

/// Matches replies to requests by id.
#[derive(Debug)]
pub struct Mux<T>(PhantomData<T>);

impl<P: Multiplexed, T> Engine<P, T> for Mux<T> {
    fn with_capacity(_capacity: usize) -> Self {
        Self(PhantomData)
    }
    fn send(
        &mut self,
        _: &P,
        _: &mut P::Frame,
        _: Expect,
        _: Option<Instant>,
        token: T,
    ) -> Result<Slot, T> {
        Err(token)
    }
    fn stamp(&mut self, _: &P, _: &mut P::Frame) {}
    fn receive<'a>(&'a mut self, _: &P, _: &mut P::Frame) -> Received<'a, T> {
        Received::Unknown
    }
    fn abandon(&mut self, _: Slot) -> Option<T> {
        None
    }
    fn expire(&mut self, _: Instant) -> Option<T> {
        None
    }
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
    fn close(&mut self) -> Option<T> {
        None
    }
    fn in_flight(&self) -> usize {
        0
    }
    fn abandoned(&self) -> usize {
        0
    }
    fn is_full(&self) -> bool {
        true
    }
}
