//! The bytes of a leaf's entries: chunks of one size, filled one after another.
//!
//! Chunks of one size leave no gaps in the allocator, whatever leaves grow and shrink, and growing copies nothing. A
//! piece never crosses from one chunk to the next.

/// The size of a chunk: small beside a leaf, since the last one is half empty on average.
pub(super) const CHUNK_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Box<[u8; CHUNK_BYTES]>>,
    /// Where the next piece goes, if it fits into the last chunk.
    end: usize,
    /// Bytes in pieces, released ones included.
    used: usize,
}

impl Arena {
    /// Makes room for a piece (of at most [`CHUNK_BYTES`]) and returns where it is.
    pub fn reserve(&mut self, bytes: usize) -> usize {
        let capacity = self.chunks.len() * CHUNK_BYTES;
        let start = if self.end + bytes <= capacity { self.end } else { capacity };
        if start == capacity {
            self.chunks.push(empty_chunk());
        }
        self.end = start + bytes;
        self.used += bytes;
        start
    }

    /// The bytes from `start` to the end of their chunk.
    pub fn tail(&self, start: usize) -> &[u8] {
        &self.chunks[start / CHUNK_BYTES][start % CHUNK_BYTES..]
    }

    /// The bytes from `start` to the end of their chunk, to be written.
    pub fn tail_mut(&mut self, start: usize) -> &mut [u8] {
        &mut self.chunks[start / CHUNK_BYTES][start % CHUNK_BYTES..]
    }

    /// Bytes in pieces, released ones included.
    pub fn used(&self) -> usize {
        self.used
    }
}

fn empty_chunk() -> Box<[u8; CHUNK_BYTES]> {
    // Through a vector, so that the chunk is not made on the stack first.
    let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
    chunk.try_into().expect("the vector has the length of a chunk")
}
