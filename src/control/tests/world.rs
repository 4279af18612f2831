//! Keepers that only talk, apps that only answer probes, and a control over both.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::Settings;
use crate::control::{Control, Failure, Outcome, ServiceStatus};
use crate::router::Router;
use crate::service::flight::Flights;
use crate::spec::{self, Deploy, Handoff, OnBusy, Target, TargetOptions};
use crate::wire::{self, Facts, Holder, Order, Role, Saying, Status, Verb};

pub(super) struct World {
    pub(super) control: Arc<Control>,
    pub(super) data: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { control: control(&data, Settings::default()), data }
    }

    /// As after a crash of the proxy.
    pub(super) async fn restart(&mut self) {
        self.restart_with(Settings::default()).await;
    }

    pub(super) async fn restart_with(&mut self, settings: Settings) {
        self.control = control(&self.data, settings);
        self.control.restore().await;
    }

    pub(super) async fn deploy(&self, deploy: Deploy) -> Result<Outcome, Failure> {
        self.control.deploy(deploy, unbounded_channel().0).await
    }

    /// A deploy that goes on while the test does something else.
    pub(super) fn begin(&self, deploy: Deploy) -> JoinHandle<Result<Outcome, Failure>> {
        let control = Arc::clone(&self.control);
        tokio::spawn(async move { control.deploy(deploy, unbounded_channel().0).await })
    }

    pub(super) fn status(&self) -> ServiceStatus {
        self.control.list().pop().unwrap()
    }

    pub(super) fn state_file(&self) -> String {
        std::fs::read_to_string(self.data.path().join("kamal-proxy.state")).unwrap()
    }
}

fn control(data: &tempfile::TempDir, mut settings: Settings) -> Arc<Control> {
    data.path().clone_into(&mut settings.data);
    Control::new(Arc::new(settings), Arc::new(Router::new()), Flights::new())
}

pub(super) fn deploy(target: &str) -> Deploy {
    let health_check = spec::HealthCheck { interval: Duration::from_millis(20), ..spec::HealthCheck::default() };
    Deploy {
        service: "shop".into(),
        targets: vec![Target::parse(target).unwrap()],
        readers: Vec::new(),
        options: spec::Options::default(),
        target_options: TargetOptions { health_check, ..TargetOptions::default() },
        deploy_timeout: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(5),
        force: false,
        handoff: Handoff::Auto,
        keeper: None,
        on_busy: OnBusy::Wait,
        on_drain_timeout: None,
        max_hold: None,
        asked_by: "a test".into(),
    }
}

/// Waits until it is so.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An app: while it runs, a port that answers every request the same.
pub(super) struct App {
    pub(super) address: String,
    status: u16,
    running: Mutex<Option<AbortHandle>>,
}

impl App {
    /// One that does not run yet.
    pub(super) async fn new(status: u16) -> Arc<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        Arc::new(Self { address, status, running: Mutex::default() })
    }

    pub(super) async fn running(status: u16) -> Arc<Self> {
        let app = Self::new(status).await;
        app.start().await;
        app
    }

    pub(super) async fn start(&self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        let answer = format!("HTTP/1.1 {} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", self.status);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        *self.running.lock().unwrap() = Some(task.abort_handle());
    }

    pub(super) fn stop(&self) {
        if let Some(task) = self.running.lock().unwrap().take() {
            task.abort();
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.running.lock().unwrap().is_some()
    }
}

/// What all keepers of one lease directory share.
#[derive(Default)]
pub(super) struct Lease {
    record: Mutex<Record>,
    keepers: AtomicUsize,
}

#[derive(Default)]
struct Record {
    epoch: u64,
    confirmed: bool,
    last_confirmed: Option<String>,
    holder: Option<Holder>,
}

/// What goes wrong with a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The app exits while it boots.
    Exits,
    /// The app boots until the test starts it.
    BootsOn,
    /// `prepare` is refused.
    Refuses,
    /// The conversation breaks at `take`, before the lease is had.
    BreaksAtTake,
    /// The answer to `confirm` is lost.
    LosesConfirmed,
}

pub(super) struct Keeper {
    pub(super) control: String,
    pub(super) app: Arc<App>,
    lease: Arc<Lease>,
    id: String,
    fault: Fault,
    told: Mutex<Vec<String>>,
}

impl Keeper {
    /// One that takes the lease, unasked, if it is free and was never had.
    pub(super) async fn new(lease: &Arc<Lease>, app: Arc<App>, fault: Fault) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = listener.local_addr().unwrap().to_string();
        let number = lease.keepers.fetch_add(1, Ordering::Relaxed);
        let (lease, id) = (Arc::clone(lease), format!("keeper{number}:8647"));
        let keeper = Arc::new(Self { control, app, lease, id, fault, told: Mutex::default() });
        if keeper.lease.record.lock().unwrap().epoch == 0 {
            keeper.take(true);
            keeper.app.start().await;
        }
        let serving = Arc::clone(&keeper);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let keeper = Arc::clone(&serving);
                tokio::spawn(async move { keeper.converse(stream).await });
            }
        });
        keeper
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn holds(&self) -> bool {
        self.lease.record.lock().unwrap().holder.as_ref().is_some_and(|holder| holder.id == self.id)
    }

    fn take(&self, asked_by_nobody: bool) -> (u64, bool) {
        let mut record = self.lease.record.lock().unwrap();
        assert!(record.holder.is_none(), "two would be live");
        record.epoch += 1;
        record.confirmed = asked_by_nobody || record.last_confirmed.as_ref() == Some(&self.id);
        record.holder = Some(Holder { id: self.id.clone(), control: self.control.clone() });
        if record.confirmed {
            record.last_confirmed = Some(self.id.clone());
        }
        (record.epoch, record.confirmed)
    }

    pub(super) fn free(&self) {
        self.app.stop();
        if self.holds() {
            self.lease.record.lock().unwrap().holder = None;
        }
    }

    fn confirm(&self) {
        let mut record = self.lease.record.lock().unwrap();
        record.confirmed = true;
        record.last_confirmed = Some(self.id.clone());
    }

    fn status(&self) -> Saying {
        let role = if self.holds() { Role::Holder } else { Role::Standby };
        let record = self.lease.record.lock().unwrap();
        Saying::Status(Box::new(Status {
            wire: wire::VERSION,
            role,
            service: Some("shop".into()),
            id: self.id.clone(),
            epoch: record.epoch,
            confirmed: record.confirmed,
            last_confirmed: record.last_confirmed.clone(),
            holder: record.holder.clone(),
            lease: format!("{:p}", Arc::as_ptr(&self.lease)),
            prepared: false,
            stopping: false,
            wishes: Default::default(),
            note: String::new(),
            unknown: Default::default(),
        }))
    }

    async fn converse(&self, stream: TcpStream) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut sayings = vec![self.status()];
        loop {
            for saying in sayings.drain(..) {
                if writer.write_all(&wire::encode(&saying)).await.is_err() {
                    return;
                }
            }
            let Ok(Some(line)) = lines.next_line().await else { return };
            let order: Order = wire::decode(line.as_bytes()).unwrap();
            match self.obey(order.verb).await {
                Some(said) => sayings = said,
                None => return,
            }
        }
    }

    async fn obey(&self, verb: Verb) -> Option<Vec<Saying>> {
        let word = format!("{verb:?}").split([' ', '{']).next().unwrap().to_lowercase();
        self.told.lock().unwrap().push(word);
        Some(match verb {
            Verb::Status {} => vec![self.status()],
            Verb::Prepare { .. } if self.fault == Fault::Refuses => {
                vec![Saying::Refused { why: "the lease directory is read-only".into() }]
            }
            Verb::Prepare { .. } => vec![Saying::Ready { ticket: "word".into(), facts: Facts::default() }],
            Verb::Show { .. } => vec![Saying::Ok {}],
            Verb::Yield { .. } => {
                self.free();
                vec![Saying::Stopping { grace_ms: None }, Saying::Free { ms: 1 }]
            }
            Verb::Take { .. } if self.fault == Fault::BreaksAtTake => return None,
            Verb::Take { .. } => self.taken().await,
            Verb::Confirm { .. } if self.fault == Fault::LosesConfirmed => {
                self.confirm();
                return None;
            }
            Verb::Confirm { epoch } => {
                self.confirm();
                vec![Saying::Confirmed { epoch }]
            }
        })
    }

    async fn taken(&self) -> Vec<Saying> {
        let (epoch, confirmed) = self.take(false);
        let restored = confirmed.then_some(epoch - 1);
        let mut sayings = vec![
            Saying::Leased { epoch, restored, confirmed, restore_ms: 3 },
            Saying::Snapshot { bytes: 10, us: 2_000, how: "copy".into(), why: None },
            Saying::Started {},
        ];
        match self.fault {
            Fault::Exits => {
                self.free();
                sayings.push(Saying::Exited { code: 3, lines: vec!["no such table: orders".into()] });
            }
            Fault::BootsOn => {}
            Fault::None | Fault::Refuses | Fault::BreaksAtTake | Fault::LosesConfirmed => self.app.start().await,
        }
        sayings
    }
}
