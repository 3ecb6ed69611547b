//! Records of several sources in the order of their places; of several at one place the last source's counts.

use std::sync::Arc;

use super::Result;
use super::base::Base;
use super::overlay::Overlay;
use super::record::{Bytes, Place};
use super::tag::TagKey;

/// Records in order, one at a time.
pub(super) trait Source {
    /// The place of the record that it stands at; `None` at its end.
    fn place(&self) -> Option<&Place>;
    /// What is stored there.
    fn value(&self) -> &[u8];
    /// Goes to the next record.
    fn advance(&mut self) -> Result<()>;
}

/// Hands every record on, in order. `sources` stand at their first records.
pub(super) fn merge(
    sources: &mut [Box<dyn Source + '_>],
    mut each: impl FnMut(&Place, &[u8]) -> Result<()>,
) -> Result<()> {
    while let Some(least) = least(sources) {
        each(&least, newest(sources, &least))?;
        pass(sources, &least)?;
    }
    Ok(())
}

/// The next record, one at a time: [`merge`] for who asks.
pub(super) fn step(sources: &mut [Box<dyn Source + '_>]) -> Result<Option<(Place, Box<[u8]>)>> {
    let Some(least) = least(sources) else {
        return Ok(None);
    };
    let value = newest(sources, &least).into();
    pass(sources, &least)?;
    Ok(Some((least, value)))
}

fn least(sources: &[Box<dyn Source + '_>]) -> Option<Place> {
    sources.iter().filter_map(|source| source.place()).min().copied()
}

fn newest<'s>(sources: &'s [Box<dyn Source + '_>], place: &Place) -> &'s [u8] {
    let last = sources.iter().rfind(|source| source.place() == Some(place));
    last.map(|source| source.value()).unwrap_or_default()
}

fn pass(sources: &mut [Box<dyn Source + '_>], place: &Place) -> Result<()> {
    let there = sources.iter_mut().filter(|source| source.place() == Some(place));
    for source in there {
        source.advance()?;
    }
    Ok(())
}

/// The records of a base, each block seen to be whole.
#[derive(Debug)]
pub(super) struct BaseRecords<'b> {
    base: &'b Base,
    key: &'b TagKey,
    next_block: usize,
    block: Vec<u8>,
    next: usize,
    at: Option<(Place, std::ops::Range<usize>)>,
}

impl<'b> BaseRecords<'b> {
    pub(super) fn new(base: &'b Base, key: &'b TagKey) -> Result<Self> {
        let mut records = Self {
            base,
            key,
            next_block: 0,
            block: Vec::new(),
            next: 0,
            at: None,
        };
        records.advance()?;
        Ok(records)
    }
}

impl Source for BaseRecords<'_> {
    fn place(&self) -> Option<&Place> {
        self.at.as_ref().map(|(place, _)| place)
    }

    fn value(&self) -> &[u8] {
        let range = self
            .at
            .as_ref()
            .map(|(_, range)| range.clone())
            .unwrap_or_default();
        self.block.get(range).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<()> {
        loop {
            let mut rest = Bytes(self.block.get(self.next..).unwrap_or_default());
            if let Some((place, value)) = rest.entry() {
                self.next = self.block.len() - rest.0.len();
                self.at = Some((place, self.next - value.len()..self.next));
                return Ok(());
            }
            self.at = None;
            self.next = 0;
            if !self.base.block(self.next_block, self.key, &mut self.block)? {
                self.block.clear();
                return Ok(());
            }
            self.next_block += 1;
        }
    }
}

/// The records of an overlay that no longer changes.
#[derive(Debug)]
pub(super) struct OverlayRecords {
    overlay: Arc<Overlay>,
    places: std::vec::IntoIter<Place>,
    at: Option<(Place, Box<[u8]>)>,
}

impl OverlayRecords {
    pub(super) fn new(overlay: Arc<Overlay>) -> Self {
        let mut records = Self {
            places: overlay.places().into_iter(),
            overlay,
            at: None,
        };
        records.step();
        records
    }

    fn step(&mut self) {
        let overlay = &self.overlay;
        self.at = self
            .places
            .find_map(|place| overlay.value(&place).map(|value| (place, value)));
    }
}

impl Source for OverlayRecords {
    fn place(&self) -> Option<&Place> {
        self.at.as_ref().map(|(place, _)| place)
    }

    fn value(&self) -> &[u8] {
        self.at.as_ref().map(|(_, value)| &**value).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<()> {
        self.step();
        Ok(())
    }
}
