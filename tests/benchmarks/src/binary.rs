//! Measures a release binary as a process: its start, its memory, and the time of its answers.
//!
//! The process runs as in Lambda. It gets its events from a runtime API and calls AWS over TLS at one
//! endpoint per service. This module serves both on the loopback interface, from the simulated account,
//! with [`LATENCY`] before each response and each handshake.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::quota::Share;
use crate::workload::environment;
use simulation::account::{Account, REGION};
use simulation::connector::Request;
use simulation::faults::Faults;
use simulation::lambda::{FUNCTION_ARN, FUNCTION_TIMEOUT};
use simulation::state::{Simulation, lock};

/// The delay of each response and of each handshake.
pub const LATENCY: Duration = Duration::from_millis(20);

/// The answer to one event.
#[derive(Clone, Debug)]
pub struct TimedAnswer {
    /// From sending the event until the answer arrived.
    pub took: Duration,
    pub body: String,
    /// Connections to AWS that the process opened meanwhile.
    pub connections: usize,
}

/// A running process of a function. It is killed when this value is dropped.
pub struct Process {
    child: Child,
    runtime: RuntimeApi,
    connections: Arc<Mutex<usize>>,
    /// From exec to the first request for an event.
    pub started: Duration,
    /// Declared last, since the group can be removed only after the process ended.
    share: Option<Share>,
}

/// The Lambda runtime API of one process.
struct RuntimeApi {
    events: Sender<String>,
    /// The times at which the process requested an event.
    requests: Receiver<Instant>,
    answers: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a binary and waits until it requests its first event.
    ///
    /// # Errors
    /// If the binary does not start, or requests no event within 30 seconds.
    pub fn start(binary: &Path, account: Account) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", binary.display());
        let mut simulation = Simulation::new(account, vec![environment()], Faults::default(), 7);
        simulation.has_quotas = false;
        let simulation = Arc::new(Mutex::new(simulation));
        let connections = Arc::new(Mutex::new(0));
        let tls = Tls::new()?;
        let mut endpoints = BTreeMap::new();
        for service in ["ECS", "ELASTIC_LOAD_BALANCING", "ELASTIC_LOAD_BALANCING_V2", "ROUTE_53"] {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
            let port = listener.local_addr().map_err(failed)?.port();
            endpoints
                .insert(format!("AWS_ENDPOINT_URL_{service}"), format!("https://localhost:{port}"));
            serve_aws(listener, &tls, &simulation, &connections);
        }
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let api = listener.local_addr().map_err(failed)?.to_string();
        let runtime = serve_runtime(listener);
        let certificates =
            std::env::temp_dir().join(format!("discovery-{}.pem", std::process::id()));
        std::fs::write(&certificates, &tls.certificate).map_err(failed)?;

        let begun = Instant::now();
        let child = Command::new(binary)
            .env_clear()
            .envs(endpoints)
            .env("SSL_CERT_FILE", &certificates)
            .env("AWS_LAMBDA_RUNTIME_API", api)
            .env("AWS_LAMBDA_FUNCTION_NAME", "discovery")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "k")
            .env("AWS_SECRET_ACCESS_KEY", "s")
            .env("DISCOVERY_CONFIG", environment().to_json())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let requested = runtime.requests.recv_timeout(Duration::from_secs(30));
        let requested =
            requested.map_err(|_| format!("{} requested no event in 30 s", binary.display()))?;
        let _ = std::fs::remove_file(certificates);
        Ok(Process { child, runtime, connections, started: requested - begun, share: None })
    }

    /// Gives the process the share of a processor that a function with `memory` MiB has. Lambda does so after the
    /// init, too.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn limit_to(&mut self, memory: u64) -> Result<(), String> {
        let share = Share::of_memory(memory)?;
        share.limit(self.child.id())?;
        self.share = Some(share);
        Ok(())
    }

    /// Sends an event and waits for the answer.
    ///
    /// # Errors
    /// If no answer arrives within the function's timeout.
    pub fn invoke(&self, payload: &str) -> Result<TimedAnswer, String> {
        let count = || self.connections.lock().map(|count| *count).unwrap_or_default();
        let before = count();
        let begun = Instant::now();
        self.runtime.events.send(payload.to_owned()).map_err(|error| error.to_string())?;
        let body = self.runtime.answers.recv_timeout(FUNCTION_TIMEOUT);
        let body = body.map_err(|error| format!("the process did not answer: {error}"))?;
        Ok(TimedAnswer { took: begun.elapsed(), body, connections: count() - before })
    }

    /// The present and the greatest resident memory of the process, in KiB.
    ///
    /// # Errors
    /// If the system has no `/proc`.
    pub fn memory_kib(&self) -> Result<(u64, u64), String> {
        let status = self.proc_file("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// The processor time of the process.
    ///
    /// # Errors
    /// If the system has no `/proc`.
    pub fn cpu(&self) -> Result<Duration, String> {
        let stat = self.proc_file("stat")?;
        // The name of the binary may contain spaces, so the fields are counted after its parenthesis: the
        // 12th and the 13th are the user and the system time, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let times = fields.get(11..13).unwrap_or_default();
        let ticks: u64 = times.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    fn proc_file(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

struct Tls {
    certificate: String,
    config: Arc<ServerConfig>,
}

impl Tls {
    fn new() -> Result<Tls, String> {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let signed = signed.map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key.map_err(str::to_owned)?)
            .map_err(|error| error.to_string())?;
        Ok(Tls { certificate: signed.cert.pem(), config: Arc::new(config) })
    }
}

fn serve_aws(
    listener: TcpListener,
    tls: &Tls,
    simulation: &Arc<Mutex<Simulation>>,
    connections: &Arc<Mutex<usize>>,
) {
    let (config, simulation, connections) =
        (Arc::clone(&tls.config), Arc::clone(simulation), Arc::clone(connections));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(mut count) = connections.lock() {
                *count += 1;
            }
            let (config, simulation) = (Arc::clone(&config), Arc::clone(&simulation));
            thread::spawn(move || {
                thread::sleep(LATENCY);
                let Ok(connection) = ServerConnection::new(config) else { return };
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                while let Some(message) = HttpMessage::read(&mut stream) {
                    thread::sleep(LATENCY);
                    let HttpMessage { method, uri, target, body } = message;
                    let request = Request::parse(&method, &uri, target.as_deref(), body);
                    let ((status, body), _) = lock(&simulation).answer(&request, 0);
                    if respond(stream.get_mut(), status, &[], &body).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn serve_runtime(listener: TcpListener) -> RuntimeApi {
    let (event_sender, events) = channel::<String>();
    let (request_sender, requests) = channel();
    let (answer_sender, answers) = channel();
    let events = Arc::new(Mutex::new(events));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (events, requests, answers) =
                (Arc::clone(&events), request_sender.clone(), answer_sender.clone());
            thread::spawn(move || serve_runtime_connection(stream, &events, &requests, &answers));
        }
    });
    RuntimeApi { events: event_sender, requests, answers }
}

fn serve_runtime_connection(
    stream: TcpStream,
    events: &Mutex<Receiver<String>>,
    requests: &Sender<Instant>,
    answers: &Sender<String>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(message) = HttpMessage::read(&mut stream) {
        let responded = if message.method == "GET" {
            let _ = requests.send(Instant::now());
            let event = events.lock().ok().and_then(|events| events.recv().ok());
            let Some(event) = event else { return };
            let deadline = std::time::SystemTime::now() + FUNCTION_TIMEOUT;
            let deadline = deadline.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let headers = [
                ("Lambda-Runtime-Aws-Request-Id", "1".to_owned()),
                ("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string()),
                ("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN.to_owned()),
            ];
            respond(stream.get_mut(), 200, &headers, &event)
        } else {
            let _ = answers.send(message.body);
            respond(stream.get_mut(), 202, &[], "")
        };
        if responded.is_err() {
            return;
        }
    }
}

/// An HTTP/1.1 request with a length or with chunks. The SDK and the Lambda runtime send no other requests.
struct HttpMessage {
    method: String,
    uri: String,
    target: Option<String>,
    body: String,
}

impl HttpMessage {
    /// Reads the next request. `None` if the connection ends.
    fn read(stream: &mut impl BufRead) -> Option<HttpMessage> {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, uri) = (words.next()?, words.next()?);
        let (mut length, mut is_chunked, mut target) = (0, false, None);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "transfer-encoding" => is_chunked = true,
                "x-amz-target" => target = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if is_chunked {
            loop {
                let mut size = String::new();
                stream.read_line(&mut size).ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                stream.read_exact(&mut chunk).ok()?;
                body.extend(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(length, 0);
            stream.read_exact(&mut body).ok()?;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(HttpMessage { method, uri, target, body })
    }
}

fn respond(
    stream: &mut impl Write,
    status: u16,
    headers: &[(&str, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
