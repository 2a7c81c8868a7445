//! `demo`: fills an empty data directory, serves it, and shows three requests.

use std::io::Write;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::ProgramError;
use super::serve::run_with;
use crate::AppState;
use crate::auth::Scopes;
use crate::auth::api_key::{ApiKey, Grant};
use crate::config::Config;
use crate::demo::{self, DemoOptions, Plan};

/// The name of the key that the examples have.
const KEY_NAME: &str = "demo";

/// The options of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    options: DemoOptions,
}

/// Fills and serves until a signal.
pub(super) fn run(config: Config, args: &DemoArgs) -> Result<(), ProgramError> {
    demo::claim(&config.data_dir)?;
    let options = args.options;
    run_with(config, async move |state, _superuser, address| {
        let mut progress = Progress::new();
        let plan = demo::fill(&state.store, options, state.clock.now(), |done, all| progress.show(done, all))
            .await?;
        progress.bar.finish_and_clear();
        let key = fresh_key(state, &plan).await?;
        Ok(Some(demo::examples(&plan, &format!("http://{address}"), &key)))
    })
}

/// How far the fill has come: a bar on standard error, or a line for each tenth where that is no terminal.
struct Progress {
    bar: ProgressBar,
    /// Tenths that were told in a line.
    told: u64,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{spinner} {wide_bar} {percent:>3} %  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, told: 0 }
    }

    fn show(&mut self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
        let tenths = done * 10 / all.max(1);
        if self.bar.is_hidden() && tenths > self.told {
            self.told = tenths;
            let _ = writeln!(std::io::stderr(), "filled {} %", tenths * 10);
        }
    }
}

/// A key of the organization of the examples. Its text is kept nowhere, so every start makes one, and
/// takes those of earlier starts away.
async fn fresh_key(state: &AppState, plan: &Plan) -> Result<String, ProgramError> {
    let Some(organization) = plan.shown_organization().cloned() else { return Ok(String::new()) };
    let keyring = state.auth.keyring();
    let mut puts = Vec::new();
    for entry in keyring.list(Some(&organization)) {
        if entry.key.name == KEY_NAME {
            puts.push(ApiKey::removal(&entry.key.id));
            keyring.remove(&entry.key.id);
        }
    }
    let grant = Grant::Organization { organization, scopes: Scopes::ALL_OF_ORGANIZATION };
    let (key, text) = ApiKey::issue(KEY_NAME, grant, None, state.clock.now(), KEY_NAME, &state.entropy);
    puts.push(key.put());
    state.store.put(puts).await?;
    keyring.insert(key);
    Ok(text)
}
