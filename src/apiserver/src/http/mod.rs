//! The HTTP face of the engine.

mod body;

pub use body::Body;
