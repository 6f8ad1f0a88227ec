'use strict';

// `node --require` loads this file first. It refuses a Node.js that `engines` in package.json excludes,
// before Node.js reads a file with syntax that only a newer one understands.
var range = require('../../package.json').engines.node;

/**
 * Understands the forms that packages use in `engines`: `^20.19.0`, `>=24`, `20`, `*`, and `||` between them.
 *
 * @param {string} range
 * @param {string} version
 */
function accepts(range, version) {
  var found = version.split('.').map(Number);
  return range.split('||').some(function (/** @type {string} */ part) {
    var match = /^(\^|>=)?\s*(.*)$/.exec(part.trim());
    if (!match || match[2] === '*') return true;
    var least = match[2].split('.').map(Number);
    if (match[1] !== '>=' && found[0] !== least[0]) return false;
    for (var index = 0; index < least.length; index += 1) {
      if (found[index] !== least[index]) return found[index] > least[index];
    }
    return true;
  });
}

module.exports = { accepts: accepts };

if (!accepts(range, process.versions.node)) {
  var problem = 'Node.js ' + process.versions.node + ' cannot run this project, which needs ' + range + '.';
  console.error(problem + ' Install the version in .nvmrc.');
  process.exit(1);
}
