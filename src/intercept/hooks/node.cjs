// singlepoll loads this file into Node programs that run under it (NODE_OPTIONS=--require). It does one thing: a TLS connection to
// api.telegram.org, port 443, goes to singlepoll's gateway on this machine instead, which keeps the bot to one poll at a time and passes
// every call on. Nothing else is touched, and if anything is amiss the program runs as if this file were not here.
// It is old JavaScript on purpose: any Node may load it. `singlepoll start --intercept off` keeps it out.
'use strict';

var HOST = 'api.telegram.org';

/** Options that belong to the way to the real host; the gateway has its own certificate, and is trusted for that alone. */
var DROPPED = (
  'lookup family hints localAddress localPort autoSelectFamily secureContext session ca crl cert key pfx passphrase ciphers ' +
  'ecdhCurve sigalgs minVersion maxVersion secureProtocol pskCallback'
).split(' ');

/** Port, process id and start time of singlepoll, and the certificate (base64 of DER) that its gateway is trusted by. */
function readSetting() {
  var parts = (process.env.SINGLEPOLL_HOOK || '').split(':');
  return parts.length === 4 && { port: Number(parts[0]), pid: parts[1], startTime: parts[2], der: parts[3] };
}

/** Whatever outlives singlepoll (a tmux server, a daemon) has to reach api.telegram.org itself. */
function isAlive(setting) {
  try {
    var stat = require('fs').readFileSync('/proc/' + setting.pid + '/stat', 'latin1');
    var fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A process that has ended stays listed as a zombie until its parent reaps it, and some parents never do.
    return fields[0] !== 'Z' && fields[19] === setting.startTime;
  } catch (error) {
    // No /proc, or Node's permission model: a signal that does nothing asks the same, but for another process with this id.
    if (error.code !== 'ERR_ACCESS_DENIED' && process.platform === 'linux') return false;
    try {
      return process.kill(Number(setting.pid), 0);
    } catch (gone) {
      return gone.code === 'EPERM';
    }
  }
}

/** singlepoll's own commands ask the Bot API themselves. */
function isSinglepoll() {
  return /[/\\]bin[/\\]singlepoll\.js$/.test(process.argv[1]);
}

function bare(host) {
  return String(host || '').toLowerCase().replace(/\.$/, '');
}

/** tls.connect takes (options), (port, options), (port, host, options), each with a callback behind. */
function optionsOf(args) {
  var options = {};
  for (var i = 0; i < args.length; i++) {
    if (typeof args[i] === 'object' && args[i] !== null) for (var name in args[i]) options[name] = args[i][name];
    else if (i === 0) options.port = args[i];
    else if (i === 1 && typeof args[i] === 'string') options.host = args[i];
  }
  return options;
}

/** Some libraries hand on Node's own check. */
function isPin(check) {
  return typeof check === 'function' && check !== require('tls').checkServerIdentity;
}

function isOurs(options) {
  if (bare(options.host || options.servername) !== HOST || Number(options.port) !== 443) return false;
  // A tunnel of the program's own, or a certificate that it pins: the program's word counts.
  if (options.socket || options.path || isPin(options.checkServerIdentity)) return false;
  var alpn = options.ALPNProtocols;
  return !alpn || Buffer.from([].concat(alpn).join(), 'latin1').indexOf('http/1.1') !== -1;
}

function hook(setting) {
  var tls = require('tls');
  var connect = tls.connect;
  var lines = setting.der.match(/.{1,64}/g).join('\n');
  var ca = '-----BEGIN CERTIFICATE-----\n' + lines + '\n-----END CERTIFICATE-----\n';
  tls.connect = function () {
    var options = optionsOf(arguments);
    if (!isOurs(options) || !isAlive(setting)) return connect.apply(this, arguments);
    DROPPED.forEach(function (name) {
      delete options[name];
    });
    options.servername = HOST;
    options.host = '127.0.0.1';
    options.port = setting.port;
    options.ca = ca;
    options.rejectUnauthorized = true;
    var callback = arguments[arguments.length - 1];
    return typeof callback === 'function' ? connect.call(this, options, callback) : connect.call(this, options);
  };
  require('module').syncBuiltinESMExports();
}

try {
  var setting = readSetting();
  if (setting && parseInt(process.versions.node, 10) >= 16 && !isSinglepoll() && isAlive(setting))
    hook(setting);
} catch (_) {
  // The program comes first.
}
