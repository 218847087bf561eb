<?php
// singlepoll has PHP run this file first (auto_prepend_file). It makes singlepoll's gateway the proxy of this program: calls to
// api.telegram.org are served by the gateway, which keeps the bot to one poll at a time and passes every call on; calls to any other
// host pass through untouched. Then it runs the auto_prepend_file of the user's own. `singlepoll start --intercept off` keeps it out.

/**
 * Older PHP keeps the name of the first host that it reached through a proxy for all later calls (bug 74796). With an object in its place
 * PHP asks anew which name a certificate has to bear: that of the URL which is being opened. PHP replaces the object by its answer, so
 * each of two objects puts the other one back: at each handshake PHP reads `cafile`, and after that `peer_name`.
 */
final class SinglepollTlsOption
{
    private static $redirected = null;
    private $name;

    public function __construct($name)
    {
        $this->name = $name;
        stream_context_set_option(stream_context_get_default(), 'ssl', $name, $this);
    }

    public static function begin()
    {
        new self('cafile');
        new self('peer_name');
        stream_context_set_params(stream_context_get_default(), ['notification' => function ($code, $severity, $message) {
            self::$redirected = $code === STREAM_NOTIFY_REDIRECTED ? $message : self::$redirected;
        }]);
    }

    public function __toString()
    {
        new self($this->name === 'cafile' ? 'peer_name' : 'cafile');
        if ($this->name === 'cafile') {
            return ini_get('openssl.cafile');
        }
        $urls = [self::$redirected];
        self::$redirected = null;
        foreach (debug_backtrace() as $call) {
            $urls = array_merge($urls, $call['args'] ?? []);
        }
        foreach ($urls as $url) {
            if (is_string($url) && stripos($url, 'https://') === 0) {
                return parse_url($url, PHP_URL_HOST);
            }
        }
        return 'api.telegram.org';
    }
}

(static function () {
    $parts = explode(':', (string) getenv('SINGLEPOLL_HOOK'));
    $stat = count($parts) === 4 ? (string) @file_get_contents("/proc/{$parts[1]}/stat") : '';
    $fields = explode(' ', (string) substr($stat, (int) strrpos($stat, ')') + 2));
    // Whatever outlives singlepoll has to reach api.telegram.org itself, and a proxy of the user's own stays.
    if ($stat === '' || ($fields[19] ?? '') !== $parts[2] || getenv('https_proxy') || getenv('HTTPS_PROXY')) {
        return;
    }
    // libcurl reads it at each transfer.
    putenv("https_proxy=http://127.0.0.1:{$parts[0]}");
    // For file_get_contents. Calls over plain HTTP take this way, too; the gateway passes them on.
    stream_context_set_default(['http' => ['proxy' => "tcp://127.0.0.1:{$parts[0]}"]]);
    if (PHP_VERSION_ID < 80500 && ini_get('openssl.cafile')) {
        SinglepollTlsOption::begin();
    }
})();

// The ini files that PHP read, in their order, less ours: what the last of them says would have been run.
foreach ((static function () {
    $own = '';
    $files = array_merge([(string) php_ini_loaded_file()], explode(',', (string) php_ini_scanned_files()));
    foreach (array_filter(array_map('trim', $files)) as $file) {
        $settings = basename($file) === 'singlepoll-hook.ini' ? false : @parse_ini_file($file, false, INI_SCANNER_RAW);
        $own = is_array($settings) && isset($settings['auto_prepend_file']) ? $settings['auto_prepend_file'] : $own;
    }
    return $own === '' ? [] : [$own];
})() as $singlepollFile) {
    require $singlepollFile;
}
unset($singlepollFile);
