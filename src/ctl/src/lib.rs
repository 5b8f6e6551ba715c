//! The ctl room.
