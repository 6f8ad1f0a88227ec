// @ts-check
/** Failures that a user can repair, each with its remedy in one sentence. */

/** A failure with a complete explanation. It is printed without a stack trace. */
export class Failure extends Error {}

/** @type {[RegExp, string][]} */
const remedies = [
  [
    /ENOSPC|No space left on device|os error 28\b/i,
    'The disk is full. Free some space, for example by deleting `target/`, and run the command again.',
  ],
  [
    /linker `cc` not found|failed to find tool "?(cc|gcc|clang)\b/i,
    'No C compiler and linker (`cc`) was found. Install one (Debian and Ubuntu: `apt install build-essential`; macOS: `xcode-select --install`).',
  ],
  [
    /cannot find (Scrt1|crt1|crti)\.o|unable to find library -l(c|m)\b|cannot find -l(c|m)\b/,
    "The C library's development files are missing. Install them (Debian and Ubuntu: `apt install build-essential`).",
  ],
  [
    /'cargo-(fmt|clippy)(\.exe)?' is not installed for the toolchain/,
    'rustfmt or Clippy is missing. Run `rustup component add rustfmt clippy`.',
  ],
  [
    new RegExp(
      [
        'EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT',
        'Temporary failure in name resolution|Name or service not known|NewConnectionError|ConnectTimeoutError|ProxyError',
        'Could not resolve (host|proxy)|Couldn.t (connect|resolve)|spurious network error|network failure seems|could not download file',
      ].join('|'),
      'i',
    ),
    'A download failed because the network was not reachable. Check the connection and the proxy settings, then run the command again.',
  ],
];

/**
 * @param {string} output of a command that failed
 * @returns {string | undefined} the remedy, if the cause is a known one
 */
export function remedy(output) {
  return remedies.find(([pattern]) => pattern.test(output))?.[1];
}
