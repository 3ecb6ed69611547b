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
    loop {
        let places = sources.iter().filter_map(|source| source.place());
        let Some(least) = places.min().copied() else {
            return Ok(());
        };
        let mut is_put = false;
        for source in sources.iter_mut().rev() {
            if source.place() == Some(&least) {
                if !is_put {
                    each(&least, source.value())?;
                    is_put = true;
                }
                source.advance()?;
            }
        }
    }
}

/// The next record, one at a time: [`merge`] for who asks.
pub(super) fn step(sources: &mut [Box<dyn Source + '_>]) -> Result<Option<(Place, Box<[u8]>)>> {
    let places = sources.iter().filter_map(|source| source.place());
    let Some(least) = places.min().copied() else {
        return Ok(None);
    };
    let mut last = None;
    for source in sources.iter_mut().rev() {
        if source.place() == Some(&least) {
            last = last.or_else(|| Some(source.value().into()));
            source.advance()?;
        }
    }
    Ok(last.map(|value| (least, value)))
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
