//! The server's program; everything is in [`insights_server::cli`].

use std::process::ExitCode;

/// Decision 13: the system's allocator keeps in an arena of each thread what flushes and merges once needed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, and pages that nothing uses for half a second go back to the system, whether somebody allocates or
/// not. `_RJEM_MALLOC_CONF` in the environment comes after it and wins.
// SAFETY: the name is the one that jemalloc reads, a pointer to a C string; a slice begins with its pointer, and
// the string ends with a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] =
    b"narenas:4,lg_tcache_max:13,background_thread:true,max_background_threads:1,dirty_decay_ms:500,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    insights_server::cli::main()
}
