//! Requests to MiniStack's JSON APIs.
//!
//! Each SDK crate takes minutes to compile, so the APIs with few calls are called over plain HTTP. MiniStack
//! reads the account, the region and the service from the signature's scope and does not verify the signature
//! of the account's root credentials.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ministack::{ACCOUNT, REGION};

/// A service that speaks AWS's JSON protocol.
#[derive(Clone, Copy, Debug)]
pub enum JsonService {
    CloudTrail,
    EventBridge,
    Logs,
    Sqs,
}

impl JsonService {
    fn signing_name(self) -> &'static str {
        match self {
            JsonService::CloudTrail => "cloudtrail",
            JsonService::EventBridge => "events",
            JsonService::Logs => "logs",
            JsonService::Sqs => "sqs",
        }
    }

    /// The first part of the header `X-Amz-Target`.
    fn target(self) -> &'static str {
        match self {
            JsonService::CloudTrail => "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
            JsonService::EventBridge => "AWSEvents",
            JsonService::Logs => "Logs_20140328",
            JsonService::Sqs => "AmazonSQS",
        }
    }
}

/// A client for the APIs that no SDK crate calls.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    pub address: SocketAddr,
}

impl Api {
    /// Sends a request in AWS's JSON protocol.
    pub async fn call(
        &self,
        service: JsonService,
        operation: &str,
        request: &Value,
    ) -> Result<Value> {
        let headers = [
            ("X-Amz-Target", format!("{}.{operation}", service.target())),
            ("Content-Type", "application/x-amz-json-1.1".into()),
            ("Authorization", authorization(service.signing_name())),
        ];
        let body = request.to_string();
        let response = self.send("POST", "/", &headers, &body).await;
        let response = response.with_context(|| operation.to_owned())?;
        response.json().with_context(|| operation.to_owned())
    }

    /// Invokes a function, by its name or ARN, and waits for its answer or for its error.
    pub async fn invoke(&self, function: &str, payload: &str) -> Result<Result<Value, String>> {
        let response = self.send_invocation(function, "RequestResponse", payload).await?;
        if response.header("x-amz-function-error").is_some() {
            return Ok(Err(response.body));
        }
        Ok(Ok(response.json().with_context(|| format!("Invoke {function}"))?))
    }

    /// Invokes a function as EventBridge does: Lambda accepts the event and retries it after errors.
    pub async fn invoke_later(&self, function: &str, payload: &str) -> Result<()> {
        let response = self.send_invocation(function, "Event", payload).await?;
        ensure!(response.status == 202, "Invoke {function}: {}", response.body);
        Ok(())
    }

    async fn send_invocation(
        &self,
        function: &str,
        invocation_type: &str,
        payload: &str,
    ) -> Result<HttpResponse> {
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let headers = [
            ("X-Amz-Invocation-Type", invocation_type.to_owned()),
            ("Authorization", authorization("lambda")),
        ];
        let response = self.send("POST", &path, &headers, payload).await;
        response.with_context(|| format!("Invoke {function}"))
    }

    /// Sends a request that needs no signature, and returns the status.
    pub async fn get(&self, path: &str) -> Result<u16> {
        Ok(self.send("GET", path, &[], "").await?.status)
    }

    /// HTTP 1.0, so that the response ends with the connection and has no chunks.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<HttpResponse> {
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        HttpResponse::parse(&response)
    }
}

impl Api {
    pub async fn send_message(&self, queue_url: &str, body: &str) -> Result<()> {
        let request = json!({"QueueUrl": queue_url, "MessageBody": body});
        self.call(JsonService::Sqs, "SendMessage", &request).await?;
        Ok(())
    }

    /// The enabled rules of the default event bus.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.call(JsonService::EventBridge, "ListRules", &json!({})).await?;
        let rules = answer["Rules"].as_array().into_iter().flatten();
        Ok(rules.filter(|rule| rule["State"] == "ENABLED").cloned().collect())
    }

    /// Whether EventBridge would match an event with a rule's pattern.
    pub async fn matches(&self, pattern: &str, event: &str) -> Result<bool> {
        let request = json!({"EventPattern": pattern, "Event": event});
        let answer = self.call(JsonService::EventBridge, "TestEventPattern", &request).await?;
        answer["Result"].as_bool().context("TestEventPattern: the answer has no result")
    }
}

/// The URL of a queue on the local AWS, from its ARN.
pub fn queue_url(endpoint: &str, arn: &str) -> String {
    let name = arn.rsplit(':').next().unwrap_or_default();
    format!("{endpoint}/{ACCOUNT}/{name}")
}

fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=none"
    )
}

#[derive(Debug)]
struct HttpResponse {
    status: u16,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    body: String,
}

impl HttpResponse {
    fn parse(bytes: &[u8]) -> Result<HttpResponse> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").context("the response was cut off")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let response = HttpResponse {
            status: status.context("no HTTP status")?,
            headers,
            body: body.to_owned(),
        };
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        ensure!(
            length.is_none_or(|length: usize| length <= body.len()),
            "the response was cut off"
        );
        Ok(response)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body, unless the status is an error.
    fn json(&self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, self.body);
        }
        match self.body.trim() {
            "" => Ok(Value::Null),
            body => serde_json::from_str(body).with_context(|| format!("no JSON: {body}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_a_status_headers_and_a_body() {
        let response = HttpResponse::parse(
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Amz-Function-Error: Unhandled\r\n\r\n{\"a\":1}",
        );
        let response = response.expect("it is valid");
        assert_eq!(response.header("x-amz-function-error"), Some("Unhandled"));
        assert_eq!(response.json().expect("it is JSON"), json!({"a": 1}));
    }

    #[test]
    fn an_error_status_is_an_error_with_the_body() {
        let response =
            HttpResponse::parse(b"HTTP/1.1 400 Bad Request\r\n\r\n{\"__type\":\"Nope\"}");
        let error = response.expect("it is valid").json().expect_err("it is an error");
        assert_eq!(error.to_string(), r#"status 400: {"__type":"Nope"}"#);
    }

    #[test]
    fn an_incomplete_response_is_an_error() {
        for text in
            ["", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
        {
            let error = HttpResponse::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), "the response was cut off");
        }
    }

    #[test]
    fn a_queue_url_is_derived_from_the_arn() {
        let url =
            queue_url("http://127.0.0.1:4566", "arn:aws:sqs:eu-central-2:000000000000:events");
        assert_eq!(url, "http://127.0.0.1:4566/000000000000/events");
    }

    #[tokio::test]
    async fn a_request_is_signed_for_its_service_and_region() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let api = Api { address: listener.local_addr().expect("it is bound") };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client connects");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("the client sends");
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"Result\":true}")
                .await
                .expect("it is open");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert!(api.matches("{}", "{}").await.expect("it answers"));
        let request = server.await.expect("the server ended");
        assert!(request.contains("\r\nX-Amz-Target: AWSEvents.TestEventPattern\r\n"), "{request}");
        assert!(request.contains("/eu-central-2/events/aws4_request"), "{request}");
        assert!(request.ends_with(r#"{"Event":"{}","EventPattern":"{}"}"#), "{request}");
    }
}
