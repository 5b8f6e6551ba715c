//! The kubelet room.
