//! How the cell of an account comes to be: of the newest view, with its place locked.
//!
//! A change is published before the cells are told of it. So a change that finds no cell was published before the
//! place was locked, and the cell is made of a view that has it; one that finds a cell replaces its policy. A reader's
//! own view may be older than either and never makes a cell. A cell that is there costs one look into the map.

use std::sync::Arc;

/// Cells by their ids.
pub trait Places<Id, Cell> {
    /// The cell, if there is one.
    fn find(&self, id: &Id) -> Option<Arc<Cell>>;

    /// The cell, or the one that `make` makes while nobody else can make, find or replace one with this id.
    ///
    /// # Errors
    /// Those of `make`; then there is still none.
    fn find_or_make<E>(&self, id: Id, make: impl FnOnce() -> Result<Arc<Cell>, E>) -> Result<Arc<Cell>, E>;
}

/// The cell with this id, made of what `newest` loads when there is none.
///
/// # Errors
/// Those of `make`.
pub fn find_or_make<Id, Cell, View, E>(
    places: &impl Places<Id, Cell>,
    id: Id,
    newest: impl FnOnce() -> View,
    make: impl FnOnce(View) -> Result<Arc<Cell>, E>,
) -> Result<Arc<Cell>, E> {
    match places.find(&id) {
        Some(cell) => Ok(cell),
        None => places.find_or_make(id, || make(newest())),
    }
}
