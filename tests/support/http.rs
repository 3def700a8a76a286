//! A client of the daemon's HTTP server, of which each byte is seen.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::netns::Namespace;

/// Where the daemon serves without `--http-address`.
pub const PORT: u16 = 19_110;
/// Generous: an answer takes a millisecond.
const LIMIT: Duration = Duration::from_secs(3);

/// What the server said.
#[derive(Debug)]
pub struct Response {
    /// 200 and the like.
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    /// All behind them.
    pub body: String,
}

/// A connection from inside of the namespace.
pub fn connect(namespace: &Namespace) -> io::Result<TcpStream> {
    connect_to(namespace, PORT)
}

fn connect_to(namespace: &Namespace, port: u16) -> io::Result<TcpStream> {
    let stream = namespace.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends these bytes and reads until the server ends the connection.
pub fn exchange(namespace: &Namespace, bytes: &[u8]) -> io::Result<Response> {
    exchange_on(connect(namespace)?, bytes)
}

fn exchange_on(mut stream: TcpStream, bytes: &[u8]) -> io::Result<Response> {
    stream.write_all(bytes)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let wrong = || io::Error::other(format!("no HTTP: {said:?}"));
    let (head, body) = said.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Response {
        status: status.ok_or_else(wrong)?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Asks for a path.
pub fn get(namespace: &Namespace, path: &str) -> io::Result<Response> {
    get_from(namespace, PORT, path)
}

/// The same of a daemon that was given another port.
pub fn get_from(namespace: &Namespace, port: u16, path: &str) -> io::Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    exchange_on(connect_to(namespace, port)?, request.as_bytes())
}

/// The value of a metric, by its name without the daemon's prefix and with its labels.
pub fn metric(namespace: &Namespace, name: &str) -> io::Result<f64> {
    let page = get(namespace, "/metrics")?.body;
    let line_of = |line: &&str| {
        line.strip_prefix("non_masquerade_daemon_")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(' '))
    };
    let line = page.lines().find(line_of);
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("no {name} in\n{page}")))
}

/// What a client may say that is no request.
pub fn nonsense() -> Vec<Vec<u8>> {
    let long = "a".repeat(20_000);
    let fields = (0..500).map(|n| format!("f{n}: v\r\n"));
    vec![
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into(),
        format!("GET /metrics HTTP/1.1\r\nHost: {long}\r\n\r\n").into(),
        format!(
            "GET /metrics HTTP/1.1\r\n{}\r\n",
            fields.collect::<String>()
        )
        .into(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 10_000],
        b"GET /metrics HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_vec(),
        b"\r\n".repeat(5_000),
    ]
}
