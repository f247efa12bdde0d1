//! Puts faults on the server of a run, each at its moment, and notes when each began and ended. It knows the
//! server's process, and judges nothing.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::server::Server;
use crate::{
    fault::{FaultKind, Faults},
    measure::Account,
    result::FaultBand,
};

/// The thread that does it.
#[derive(Debug)]
pub(super) struct Disturber {
    has_begun: AtomicBool,
    /// Tells the thread that the load begins; closed, that the run is over.
    tell: Mutex<Option<Sender<()>>>,
    bands: Arc<Mutex<Vec<FaultBand>>>,
}

impl Disturber {
    pub(super) fn start(
        faults: &Faults,
        server: &Arc<Server>,
        account: &Arc<Account>,
    ) -> io::Result<Self> {
        let (tell, told) = channel();
        let bands = Arc::new(Mutex::new(Vec::new()));
        let (faults, server, account) = (faults.clone(), Arc::clone(server), Arc::clone(account));
        let noted = Arc::clone(&bands);
        let disturb = move || {
            if let Err(why) = disturb(&faults, &server, &told, &noted) {
                account.fail(format!("a fault could not be carried out: {why}"));
            }
        };
        thread::Builder::new().name("faults".to_owned()).spawn(disturb)?;
        Ok(Self { has_begun: AtomicBool::new(false), tell: Mutex::new(Some(tell)), bands })
    }

    /// The first job is submitted now. All calls but the first do nothing.
    pub(super) fn load_begins(&self) {
        if !self.has_begun.load(Ordering::Relaxed) && !self.has_begun.swap(true, Ordering::AcqRel) {
            let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tell) = &*tell {
                // The thread waits for nothing else.
                let _ = tell.send(());
            }
        }
    }

    /// No further fault is to begin.
    pub(super) fn stop(&self) {
        *self.tell.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The faults that are over.
    pub(super) fn bands(&self) -> Vec<FaultBand> {
        self.bands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn disturb(
    faults: &Faults,
    server: &Server,
    told: &Receiver<()>,
    noted: &Mutex<Vec<FaultBand>>,
) -> Result<(), String> {
    if told.recv().is_err() {
        return Ok(());
    }
    let began = Instant::now();
    for fault in &faults.0 {
        let left = fault.at.saturating_sub(began.elapsed());
        if told.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        let start: Duration = began.elapsed();
        match fault.kind {
            FaultKind::Kill => server.kill_and_start()?,
            FaultKind::Stop(span) => server.stand_still(span)?,
        }
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(FaultBand {
            kind: fault.kind.name().to_owned(),
            start_s: start.as_secs_f64(),
            end_s: began.elapsed().as_secs_f64(),
        });
    }
    Ok(())
}
