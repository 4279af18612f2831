//! Entries under keys that are never given twice: a late key finds nothing rather than another's entry.

/// Entries of one worker.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys are `generation << 32 | index`; 0 is nobody's, since generations start at 1.
    pub(super) fn insert(&mut self, entry: T) -> u64 {
        self.len += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = self.slots.get_mut(index as usize) else { return 0 };
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.entry = Some(entry);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(index(key))?;
        if u64::from(slot.generation) != key >> 32 {
            return None;
        }
        slot.entry.as_mut()
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let slot = self.slots.get_mut(index(key))?;
        if u64::from(slot.generation) != key >> 32 {
            return None;
        }
        let entry = slot.entry.take()?;
        self.len -= 1;
        self.free.push(key as u32);
        Some(entry)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut())
    }
}

fn index(key: u64) -> usize {
    (key & 0xFFFF_FFFF) as usize
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_late_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.remove(second), Some("second"));
        assert!(slab.is_empty());
    }
}
