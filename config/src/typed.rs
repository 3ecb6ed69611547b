//! What was typed: the shape of each file, its keys and their defaults. The JSON Schemas are made from these
//! types, so the comments on the fields are the ones that editors show.

pub(crate) mod bounds;
pub(crate) mod control_plane;
pub(crate) mod gateway;
pub(crate) mod identity;
pub(crate) mod route;
pub(crate) mod standalone;
pub(crate) mod upstream;
