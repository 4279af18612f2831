//! The example shop: a small web app on one SQLite file, such as people deploy. It takes orders, lists them, says `/up`,
//! writes in the background, migrates its schema at start, and stamps what it does for the checker.

mod options;
mod serve;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use crate::clock;
use crate::demo::stamps::{self, Event, Plan, Stamps};
use options::Options;
use serve::Shop;
pub use serve::{Ask, Receipt};
use store::Store;

/// Runs the shop until SIGTERM (or until its plan ends it). `args` are those after the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let born = clock::boottime();
    let ended = Options::parse(args).map_err(ShopError::Usage).and_then(|options| {
        let stamps = Stamps::open(&options.stamps, options.version, born)?;
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        stamps.stamp(born, Event::Main { pid, plan: options.plan });
        stamps.stamp(clock::boottime(), Event::Set { files: stamps::hash_set(&options.database)? });
        let stamps = Arc::new(stamps);
        let ended = live(&options, &stamps);
        stamps.stamp(clock::boottime(), Event::Exit);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// From the opening of the database to its closing.
fn live(options: &Options, stamps: &Arc<Stamps>) -> Result<(), ShopError> {
    let mut connection = store::open(&options.database)?;
    if options.plan == Plan::ExitsBooting {
        return Err(ShopError::Planned("this version does not boot"));
    }
    store::migrate(&mut connection, options.version)?;
    if options.plan == Plan::SpoilsData {
        store::spoil(&connection)?;
        return Err(ShopError::Planned("the migration failed half way"));
    }
    let store = Store::start(connection, &options.database, stamps.boot(), options.version)?;
    let shop = Arc::new(Shop::new(store, Arc::clone(stamps), options.plan));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(serve::serve(options.listen, &shop))?)
}

/// Why the shop could not start or go on.
#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Planned(&'static str),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}
