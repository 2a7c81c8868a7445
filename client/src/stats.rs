//! What became of the records, in numbers.

/// What became of the records of one stream.
///
/// `tracked = queued + sent + dropped + rejected` holds at every moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStats {
    /// Records given to the client.
    pub tracked: u64,
    /// Records that wait, or are being sent.
    pub queued: u64,
    /// Records that the server has, duplicates included.
    pub sent: u64,
    /// Records given up: the queue was full, the client was shut down, or the server did not take them in time.
    pub dropped: u64,
    /// Records that the server, or the client before it, found invalid.
    pub rejected: u64,
    /// Requests sent again.
    pub retried: u64,
    /// What last went wrong.
    pub last_error: Option<String>,
}

/// What became of the records of each stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Of events.
    pub events: StreamStats,
    /// Of audit records.
    pub audit: StreamStats,
    /// Of points.
    pub metrics: StreamStats,
}
