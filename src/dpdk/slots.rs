//! Rows of records that two threads hand to each other: control fills a row, a worker works on it, control empties it.
//!
//! A stream's state is kilobytes, and the worker that will use it must not spend its time on writing them. So the row
//! is filled by the control thread in the place where it stays, and what moves between the threads is a [`Token`] of
//! a few octets. A row is at any time in one of three hands, and only the holder touches it:
//!
//! ```text
//! Token<Vacant> ──Keeper::fill──► Token<Filled> ──Rows::adopt──► the worker ──Rows::retire──► Token<Retired> ──Keeper::empty──► …
//!    control                        in a queue                                                  in a queue, then at rest
//! ```
//!
//! | field of a row | written by | read by |
//! |---|---|---|
//! | `live` | worker, in `adopt` and `retire` | worker |
//! | the four columns | control while it holds the row's token, the worker while the row is live | the same |
//!
//! Tokens can be neither copied nor made elsewhere, and a token that is lost leaves its row unused: nothing worse. The
//! order of the two threads' accesses is that of the queue through which the token goes, which must publish with
//! `Release` and take with `Acquire`, as every channel of safe Rust does.
//!
//! The four columns lie apart, so that what a packet reads of a row does not share lines with what it does not.
//! `tests/slots_model.rs` has loom run this file through the interleavings of small cases.

#![allow(clippy::type_complexity, reason = "four columns are four type parameters")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::spsc_sync::{Arc, UnsafeCell};
use super::{Error, HugeVec, Memory};

/// A row that nothing is in.
#[derive(Debug)]
pub enum Vacant {}
/// A row that control has filled and no worker has adopted.
#[derive(Debug)]
pub enum Filled {}
/// A row that its worker has given up.
#[derive(Debug)]
pub enum Retired {}

/// The right to the row with this number.
#[derive(Debug)]
pub struct Token<S> {
    /// Which table the row is of.
    table: u32,
    row: u32,
    state: PhantomData<S>,
}

impl<S> Token<S> {
    /// The row's number.
    pub fn row(&self) -> u32 {
        self.row
    }

    fn into<T>(self) -> Token<T> {
        Token { table: self.table, row: self.row, state: PhantomData }
    }
}

/// What all columns hold of one row.
pub struct Row<A, B, C, D>(
    /// Read for every packet.
    pub A,
    /// Read for every packet, far apart.
    pub B,
    /// Read seldom.
    pub C,
    /// Read in order, row after row.
    pub D,
);

pub(super) type Uninit<T> = UnsafeCell<MaybeUninit<T>>;

/// One row of the first column, with the word that says whose the row is.
#[repr(C, align(64))]
pub(super) struct Head<A> {
    live: UnsafeCell<bool>,
    pub(super) first: Uninit<A>,
}

pub(super) struct Table<A, B, C, D> {
    id: u32,
    pub(super) heads: HugeVec<Head<A>>,
    pub(super) second: HugeVec<Uninit<B>>,
    pub(super) third: HugeVec<Uninit<C>>,
    pub(super) fourth: HugeVec<Uninit<D>>,
}

// SAFETY: a row is touched by one thread at a time, the one that holds its token or, while it is live, the owner of
// `Rows`; values move between the two, so they must be `Send`.
unsafe impl<A: Send, B: Send, C: Send, D: Send> Sync for Table<A, B, C, D> {}
// SAFETY: as above.
unsafe impl<A: Send, B: Send, C: Send, D: Send> Send for Table<A, B, C, D> {}

/// The worker's half: the rows that it has adopted.
pub struct Rows<A, B, C, D> {
    pub(super) table: Arc<Table<A, B, C, D>>,
    live: usize,
}

/// Control's half: fills and empties rows.
pub struct Keeper<A, B, C, D> {
    table: Arc<Table<A, B, C, D>>,
}

/// Both halves of a table.
pub type Halves<A, B, C, D> = (Rows<A, B, C, D>, Keeper<A, B, C, D>);

/// A table of `capacity` vacant rows, and the tokens to them in order.
///
/// # Errors
/// [`Error::Memory`] when there is not enough, with the number of MiB that are needed.
pub fn table<A, B, C, D>(
    memory: Memory<'_>,
    capacity: usize,
) -> Result<(Halves<A, B, C, D>, Vec<Token<Vacant>>), Error> {
    let id = next_id();
    let mut table = Table {
        id,
        heads: HugeVec::with_capacity(memory, capacity, "stream states")?,
        second: HugeVec::with_capacity(memory, capacity, "stream keys")?,
        third: HugeVec::with_capacity(memory, capacity, "stream reports")?,
        fourth: HugeVec::with_capacity(memory, capacity, "stream timers")?,
    };
    let mut vacant = Vec::with_capacity(capacity);
    for row in 0..capacity as u32 {
        let head = Head { live: UnsafeCell::new(false), first: UnsafeCell::new(MaybeUninit::uninit()) };
        let has_room = table.heads.push(head).is_ok()
            && table.second.push(UnsafeCell::new(MaybeUninit::uninit())).is_ok()
            && table.third.push(UnsafeCell::new(MaybeUninit::uninit())).is_ok()
            && table.fourth.push(UnsafeCell::new(MaybeUninit::uninit())).is_ok();
        debug_assert!(has_room, "every column has room for `capacity` rows");
        vacant.push(Token { table: id, row, state: PhantomData });
    }
    let table = Arc::new(table);
    Ok(((Rows { table: Arc::clone(&table), live: 0 }, Keeper { table }), vacant))
}

/// Tells the tables of a process apart, so that a token of one is refused by all others.
fn next_id() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl<A, B, C, D> Rows<A, B, C, D> {
    /// Takes a filled row over.
    ///
    /// # Errors
    /// Gives the token of another table back.
    #[inline]
    pub fn adopt(&mut self, token: Token<Filled>) -> Result<u32, Token<Filled>> {
        let Some(head) = self.table.heads.get(token.row as usize).filter(|_| token.table == self.table.id)
        else {
            return Err(token);
        };
        // SAFETY: `live` is this half's alone.
        head.live.with_mut(|live| unsafe { *live = true });
        self.live += 1;
        Ok(token.row)
    }

    /// Gives a live row up; `None` if it is not live.
    #[inline]
    pub fn retire(&mut self, row: u32) -> Option<Token<Retired>> {
        let head = self.head(row)?;
        // SAFETY: as in `adopt`.
        head.live.with_mut(|live| unsafe { *live = false });
        self.live -= 1;
        Some(Token { table: self.table.id, row, state: PhantomData })
    }

    /// The first column of a live row.
    #[inline(always)]
    pub fn first(&self, row: u32) -> Option<&A> {
        let head = self.head(row)?;
        // SAFETY: the row is live, so it was filled and is ours; `&self` excludes changes.
        Some(head.first.with(|first| unsafe { (*first).assume_init_ref() }))
    }

    /// The same, to change.
    #[inline(always)]
    pub fn first_mut(&mut self, row: u32) -> Option<&mut A> {
        let head = self.head(row)?;
        // SAFETY: the row is live, so it was filled and is ours; `&mut self` excludes other references.
        Some(head.first.with_mut(|first| unsafe { (*first).assume_init_mut() }))
    }

    /// The second column of a live row.
    #[inline(always)]
    pub fn second(&self, row: u32) -> Option<&B> {
        self.head(row)?;
        // SAFETY: as in `first`.
        self.table.second.get(row as usize).map(|cell| cell.with(|it| unsafe { (*it).assume_init_ref() }))
    }

    /// The third column of a live row.
    #[inline(always)]
    pub fn third(&self, row: u32) -> Option<&C> {
        self.head(row)?;
        // SAFETY: as in `first`.
        self.table.third.get(row as usize).map(|cell| cell.with(|it| unsafe { (*it).assume_init_ref() }))
    }

    /// The fourth column of a live row.
    #[inline(always)]
    pub fn fourth(&self, row: u32) -> Option<&D> {
        self.head(row)?;
        // SAFETY: as in `first`.
        self.table.fourth.get(row as usize).map(|cell| cell.with(|it| unsafe { (*it).assume_init_ref() }))
    }

    /// All columns of a live row, to change.
    #[inline(always)]
    pub fn row_mut(&mut self, row: u32) -> Option<Row<&mut A, &mut B, &mut C, &mut D>> {
        let head = self.head(row)?;
        let at = row as usize;
        let (second, third, fourth) =
            (self.table.second.get(at)?, self.table.third.get(at)?, self.table.fourth.get(at)?);
        // SAFETY: the row is live, so all columns were filled and are ours; the columns are apart from one another,
        // and `&mut self` excludes other references.
        unsafe {
            Some(Row(
                head.first.with_mut(|it| (*it).assume_init_mut()),
                second.with_mut(|it| (*it).assume_init_mut()),
                third.with_mut(|it| (*it).assume_init_mut()),
                fourth.with_mut(|it| (*it).assume_init_mut()),
            ))
        }
    }

    /// The first column to change, and the others to read meanwhile.
    #[inline]
    pub fn split(&mut self) -> (FirstMut<'_, A, B, C, D>, Others<'_, A, B, C, D>) {
        (
            FirstMut { table: &self.table, borrow: PhantomData },
            Others { table: &self.table, borrow: PhantomData },
        )
    }

    /// Where the first column of a row lies, live or not, from the start of its line: for prefetching.
    #[inline(always)]
    pub fn first_address(&self, row: u32) -> *const u8 {
        self.table.heads.address(row as usize)
    }

    /// Where the second column of a row lies, live or not: for prefetching.
    #[inline(always)]
    pub fn second_address(&self, row: u32) -> *const B {
        self.table.second.address(row as usize).cast()
    }

    /// Rows that are live.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Rows that there are.
    pub fn capacity(&self) -> usize {
        self.table.heads.len()
    }

    /// Whether a row is live.
    #[inline(always)]
    pub fn is_live(&self, row: u32) -> bool {
        self.head(row).is_some()
    }

    #[inline(always)]
    fn head(&self, row: u32) -> Option<&Head<A>> {
        // SAFETY: this is the worker's half, and `live` is written with `&mut self` only.
        unsafe { self.table.live_head(row) }
    }
}

/// The first column of a worker's rows.
pub struct FirstMut<'r, A, B, C, D> {
    table: &'r Table<A, B, C, D>,
    borrow: PhantomData<&'r mut A>,
}

/// The other columns of a worker's rows.
pub struct Others<'r, A, B, C, D> {
    table: &'r Table<A, B, C, D>,
    borrow: PhantomData<&'r (B, C, D)>,
}

impl<A, B, C, D> FirstMut<'_, A, B, C, D> {
    /// That of a live row.
    #[inline(always)]
    pub fn get_mut(&mut self, row: u32) -> Option<&mut A> {
        // SAFETY: this is part of the worker's half, borrowed mutably, so `live` does not change.
        let head = unsafe { self.table.live_head(row) }?;
        // SAFETY: the row is live, so it was filled and is ours; the other part gives out no reference to this column.
        Some(head.first.with_mut(|first| unsafe { (*first).assume_init_mut() }))
    }
}

impl<'r, A, B, C, D> Others<'r, A, B, C, D> {
    /// The second column of a live row.
    #[inline(always)]
    pub fn second(&self, row: u32) -> Option<&'r B> {
        // SAFETY: as in `FirstMut::get_mut`.
        unsafe { self.table.live_head(row) }?;
        // SAFETY: the row is live, so it was filled and is ours; nobody can change this column while `'r` lasts.
        self.table.second.get(row as usize).map(|cell| cell.with(|it| unsafe { (*it).assume_init_ref() }))
    }

    /// The third column of a live row.
    #[inline(always)]
    pub fn third(&self, row: u32) -> Option<&'r C> {
        // SAFETY: as in `second`.
        unsafe { self.table.live_head(row) }?;
        // SAFETY: as in `second`.
        self.table.third.get(row as usize).map(|cell| cell.with(|it| unsafe { (*it).assume_init_ref() }))
    }
}

impl<A, B, C, D> Drop for Rows<A, B, C, D> {
    fn drop(&mut self) {
        for row in 0..self.capacity() as u32 {
            if let Some(token) = self.retire(row) {
                // SAFETY: the row was live, so it was filled, and nobody can adopt it any more.
                unsafe { self.table.drop_row(token.row) };
            }
        }
    }
}

impl<A, B, C, D> Keeper<A, B, C, D> {
    /// Fills a vacant row.
    ///
    /// # Errors
    /// Gives token and values back when the row is another table's.
    pub fn fill(
        &mut self,
        token: Token<Vacant>,
        row: Row<A, B, C, D>,
    ) -> Result<Token<Filled>, (Token<Vacant>, Row<A, B, C, D>)> {
        let at = token.row as usize;
        let table = &self.table;
        let (true, Some(head), Some(second), Some(third), Some(fourth)) = (
            token.table == table.id,
            table.heads.get(at),
            table.second.get(at),
            table.third.get(at),
            table.fourth.get(at),
        ) else {
            return Err((token, row));
        };
        let Row(a, b, c, d) = row;
        // SAFETY: the token is the right to the row, which holds no values.
        unsafe {
            head.first.with_mut(|it| (*it).write(a));
            second.with_mut(|it| (*it).write(b));
            third.with_mut(|it| (*it).write(c));
            fourth.with_mut(|it| (*it).write(d));
        }
        Ok(token.into())
    }

    /// What a worker left in a row.
    pub fn row_mut(&mut self, token: &mut Token<Retired>) -> Option<Row<&mut A, &mut B, &mut C, &mut D>> {
        let at = token.row as usize;
        let table = &self.table;
        if token.table != table.id {
            return None;
        }
        // SAFETY: the token is the right to the row, which is filled; it is borrowed for as long as the references.
        unsafe {
            Some(Row(
                table.heads.get(at)?.first.with_mut(|it| (*it).assume_init_mut()),
                table.second.get(at)?.with_mut(|it| (*it).assume_init_mut()),
                table.third.get(at)?.with_mut(|it| (*it).assume_init_mut()),
                table.fourth.get(at)?.with_mut(|it| (*it).assume_init_mut()),
            ))
        }
    }

    /// Drops what is in a row and overwrites it with zeros, so that no key outlives its session.
    ///
    /// # Errors
    /// Gives the token of another table back.
    pub fn empty(&mut self, token: Token<Retired>) -> Result<Token<Vacant>, Token<Retired>> {
        if token.table != self.table.id {
            return Err(token);
        }
        // SAFETY: the token is the right to the row, which is filled, and is used up here.
        unsafe { self.table.drop_row(token.row) };
        Ok(token.into())
    }

    /// The same for a row that no worker has adopted.
    ///
    /// # Errors
    /// Gives the token of another table back.
    pub fn take_back(&mut self, token: Token<Filled>) -> Result<Token<Vacant>, Token<Filled>> {
        self.empty(token.into()).map_err(Token::into)
    }
}

impl<A, B, C, D> Table<A, B, C, D> {
    /// The head of a row, if it is live.
    ///
    /// # Safety
    /// The caller is the worker's half, and does not write `live` meanwhile.
    #[inline(always)]
    unsafe fn live_head(&self, row: u32) -> Option<&Head<A>> {
        let head = self.heads.get(row as usize)?;
        // SAFETY: as the caller promises.
        head.live.with(|live| unsafe { *live }).then_some(head)
    }

    /// # Safety
    /// The row is filled, and the caller alone has the right to it; it is vacant afterwards.
    unsafe fn drop_row(&self, row: u32) {
        let at = row as usize;
        if let Some(head) = self.heads.get(at) {
            // SAFETY: as the caller promises.
            head.first.with_mut(|it| unsafe { wipe(it) });
        }
        if let Some(cell) = self.second.get(at) {
            // SAFETY: as the caller promises.
            cell.with_mut(|it| unsafe { wipe(it) });
        }
        if let Some(cell) = self.third.get(at) {
            // SAFETY: as the caller promises.
            cell.with_mut(|it| unsafe { wipe(it) });
        }
        if let Some(cell) = self.fourth.get(at) {
            // SAFETY: as the caller promises.
            cell.with_mut(|it| unsafe { wipe(it) });
        }
    }
}

/// Drops the value and overwrites its memory with zeros.
///
/// # Safety
/// `value` is initialised, and nobody else has a reference to it.
unsafe fn wipe<T>(value: *mut MaybeUninit<T>) {
    // SAFETY: as the caller promises; afterwards the memory holds no value, so any octets may stand in it. The fence
    // keeps the compiler from leaving the zeros out because nobody reads them.
    unsafe {
        (*value).assume_init_drop();
        std::ptr::write_bytes(value.cast::<u8>(), 0, size_of::<T>());
    }
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}
