//! The real binary as a process: what it takes to start, to hold and to answer.
//!
//! It runs as Lambda runs it: it asks a runtime API for events, and AWS at endpoints of its own for
//! each service, over TLS. Both are served here, on the loopback interface, from the simulated account,
//! with 20 ms before each answer and before each handshake.

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

use crate::workload::environment;
use simulation::account::Cloud;
use simulation::faults::{Request, Sim, Weather, lock};
use simulation::lambda::FUNCTION;

/// How long the network takes, there and back.
pub const LATENCY: Duration = Duration::from_millis(20);

/// What became of one invocation.
#[derive(Clone, Debug)]
pub struct Answered {
    /// From when the event was handed over until the answer came.
    pub took: Duration,
    /// What it answered.
    pub body: String,
    /// Connections that were opened for it.
    pub connections: usize,
}

/// A function's process between its start and its end.
pub struct Process {
    child: Child,
    runtime: Runtime,
    connections: Arc<Mutex<usize>>,
    /// From exec to the first question for an event.
    pub started: Duration,
}

struct Runtime {
    events: Sender<String>,
    asked: Receiver<Instant>,
    answers: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a binary, and waits until it asks for its first event.
    ///
    /// # Errors
    /// If it does not start, or ends.
    pub fn start(binary: &Path, cloud: Cloud) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", binary.display());
        let mut sim = Sim::new(cloud, vec![environment()], Weather::default(), 7);
        sim.quotas = false;
        let sim = Arc::new(Mutex::new(sim));
        let connections = Arc::new(Mutex::new(0));
        let tls = Tls::make()?;
        let mut endpoints = BTreeMap::new();
        for service in ["ECS", "ELASTIC_LOAD_BALANCING", "ELASTIC_LOAD_BALANCING_V2", "ROUTE_53"] {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
            let port = listener.local_addr().map_err(failed)?.port();
            endpoints
                .insert(format!("AWS_ENDPOINT_URL_{service}"), format!("https://localhost:{port}"));
            serve_aws(listener, &tls, &sim, &connections);
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
            .env("AWS_REGION", simulation::account::REGION)
            .env("AWS_ACCESS_KEY_ID", "k")
            .env("AWS_SECRET_ACCESS_KEY", "s")
            .env("DISCOVERY_CONFIG", environment().to_config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let asked = runtime.asked.recv_timeout(Duration::from_secs(30));
        let started = asked.map_err(|_| format!("{} asks for no event", binary.display()))? - begun;
        let _ = std::fs::remove_file(certificates);
        Ok(Process { child, runtime, connections, started })
    }

    /// Hands an event over and waits for the answer.
    ///
    /// # Errors
    /// If none comes in five minutes.
    pub fn invoke(&self, payload: &str) -> Result<Answered, String> {
        let count = || self.connections.lock().map(|count| *count).unwrap_or_default();
        let before = count();
        let begun = Instant::now();
        self.runtime.events.send(payload.to_owned()).map_err(|error| error.to_string())?;
        let body = self.runtime.answers.recv_timeout(Duration::from_secs(300));
        let body = body.map_err(|error| error.to_string())?;
        Ok(Answered { took: begun.elapsed(), body, connections: count() - before })
    }

    /// What it holds now and what it held at most, in KiB.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn memory_kib(&self) -> Result<(u64, u64), String> {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).map_err(|error| error.to_string())?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// The processor's time that it has used.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn cpu(&self) -> Result<Duration, String> {
        let stat = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(stat).map_err(|error| error.to_string())?;
        // Behind the name, which may hold anything: the 12th and 13th field, in hundredths.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: u64 = fields[11..13].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

struct Tls {
    certificate: String,
    config: Arc<ServerConfig>,
}

impl Tls {
    fn make() -> Result<Tls, String> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.map_err(str::to_owned)?)
            .map_err(|error| error.to_string())?;
        Ok(Tls { certificate: made.cert.pem(), config: Arc::new(config) })
    }
}

fn serve_aws(
    listener: TcpListener,
    tls: &Tls,
    sim: &Arc<Mutex<Sim>>,
    connections: &Arc<Mutex<usize>>,
) {
    let (config, sim, connections) =
        (Arc::clone(&tls.config), Arc::clone(sim), Arc::clone(connections));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(mut count) = connections.lock() {
                *count += 1;
            }
            let (config, sim) = (Arc::clone(&config), Arc::clone(&sim));
            thread::spawn(move || {
                thread::sleep(LATENCY);
                let Ok(connection) = ServerConnection::new(config) else { return };
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                while let Some(message) = Message::read(&mut stream) {
                    thread::sleep(LATENCY);
                    let Message { method, uri, target, body } = message;
                    let request = Request::parse(&method, &uri, target.as_deref(), body);
                    let ((status, body), _) = lock(&sim).answer(&request, 0);
                    if reply(stream.get_mut(), status, &[], &body).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn serve_runtime(listener: TcpListener) -> Runtime {
    let (events, next) = channel::<String>();
    let (ask, asked) = channel();
    let (answer, answers) = channel();
    let next = Arc::new(Mutex::new(next));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (next, ask, answer) = (Arc::clone(&next), ask.clone(), answer.clone());
            thread::spawn(move || serve_runtime_connection(stream, &next, &ask, &answer));
        }
    });
    Runtime { events, asked, answers }
}

fn serve_runtime_connection(
    stream: TcpStream,
    next: &Mutex<Receiver<String>>,
    ask: &Sender<Instant>,
    answer: &Sender<String>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(message) = Message::read(&mut stream) {
        let replied = if message.method == "GET" {
            let _ = ask.send(Instant::now());
            let Some(event) = next.lock().ok().and_then(|next| next.recv().ok()) else { return };
            let deadline = std::time::SystemTime::now() + Duration::from_secs(300);
            let deadline = deadline.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let headers = [
                ("Lambda-Runtime-Aws-Request-Id", "1".to_owned()),
                ("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string()),
                ("Lambda-Runtime-Invoked-Function-Arn", FUNCTION.to_owned()),
            ];
            reply(stream.get_mut(), 200, &headers, &event)
        } else {
            let _ = answer.send(message.body);
            reply(stream.get_mut(), 202, &[], "")
        };
        if replied.is_err() {
            return;
        }
    }
}

/// A request of HTTP/1.1 with a length: all that the SDK and Lambda's runtime send.
struct Message {
    method: String,
    uri: String,
    target: Option<String>,
    body: String,
}

impl Message {
    /// None when the connection ends.
    fn read(stream: &mut impl BufRead) -> Option<Message> {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, uri) = (words.next()?, words.next()?);
        let (mut length, mut chunked, mut target) = (0, false, None);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "transfer-encoding" => chunked = true,
                "x-amz-target" => target = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
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
        Some(Message { method, uri, target, body })
    }
}

fn reply(
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
