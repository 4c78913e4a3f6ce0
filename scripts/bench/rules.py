"""The same rules for every program: lessons of mesh turned into rules of ast-grep and semgrep."""

import json
import re

SELECTIVE = "os.getlogin"

# Common calls, so that most files hold some of them: an unkind set for a literal filter.
CALLS = """
time.time time.sleep eval exec open print input json.loads json.dumps json.load json.dump os.path.exists os.path.join
os.path.isfile os.path.isdir os.path.abspath os.path.dirname os.path.basename os.listdir os.makedirs os.remove
os.rename os.replace os.getenv os.environ.get os.system os.popen subprocess.run subprocess.call subprocess.Popen
subprocess.check_output subprocess.check_call re.compile re.match re.search re.sub re.findall re.split
logging.getLogger logging.basicConfig logging.info logging.warning logging.error logging.debug log.info log.debug
log.warning log.error logger.info logger.debug logger.warning logger.error warnings.warn random.random random.randint
random.choice datetime.now datetime.utcnow datetime.datetime.now timedelta copy.copy copy.deepcopy functools.partial
functools.wraps itertools.chain collections.defaultdict collections.OrderedDict threading.Thread threading.Lock
threading.Event socket.socket urllib.parse.urlparse urllib.request.urlopen requests.get requests.post hashlib.md5
hashlib.sha1 hashlib.sha256 base64.b64encode base64.b64decode pickle.loads pickle.dumps pickle.load pickle.dump
yaml.load yaml.safe_load tempfile.mkdtemp tempfile.NamedTemporaryFile shutil.rmtree shutil.copy sys.exit
sys.stdout.write sys.stderr.write isinstance hasattr getattr setattr super sorted zip
""".split()

# Calls that people write rules about: deprecated, removed, or dangerous. What a set of lessons looks like.
REGRETTED = """
asyncio.coroutine asyncio.ensure_future asyncore.dispatcher base64.decodestring base64.encodestring cgi.escape
cgi.parse_qs collections.Callable commands.getoutput contextlib.nested crypt.crypt ctypes.CDLL datetime.utcfromtimestamp
datetime.datetime.utcnow distutils.core.setup distutils.version.LooseVersion dill.loads ftplib.FTP gc.set_debug
gettext.lgettext hashlib.md5 hashlib.sha1 imp.find_module imp.load_module imp.load_source importlib.find_loader
importlib.resources.path inspect.getargspec inspect.getmoduleinfo itertools.imap itertools.izip jinja2.Environment
locale.format locale.getdefaultlocale logging.warn lxml.etree.parse mark_safe marshal.loads multiprocessing.set_start_method
np.bool np.float np.object operator.isCallable os.execvp os.fork os.forkpty os.getcwdu os.getlogin os.killpg os.popen
os.popen2 os.setuid os.spawnl os.spawnvp os.startfile os.system os.tempnam os.tmpnam os.umask paramiko.AutoAddPolicy
pickle.load pickle.loads pkg_resources.iter_entry_points pkg_resources.require pkgutil.find_loader platform.dist
platform.linux_distribution plistlib.readPlist random.jumpahead shelve.open shutil.unpack_archive signal.siginterrupt
smtpd.SMTPServer spwd.getspnam ssl.wrap_socket ssl._create_unverified_context string.maketrans sys._getframe
sys.exc_clear sys.setcheckinterval sys.setrecursionlimit tarfile.open telnetlib.Telnet tempfile.mktemp thread.allocate_lock
thread.start_new_thread threading._shutdown time.clock types.ClassType unittest.findTestCases
unittest.makeSuite urllib.urlencode urllib.urlopen urllib.unquote warnings.warnpy3k xml.dom.minidom.parseString
xml.etree.ElementTree.parse xml.sax.parse yaml.load zipimport.zipimporter
""".split()


def generated(name, calls):
    """A lesson that finds these calls, as TOML, and its rules."""
    lines = [
        f'id = "{name}"', "rev = 1", 'title = "Calls to look at"', 'scope = "python/bench"', 'severity = "hint"',
        'risk = "low"', 'when = "Measuring."', 'prefer = "Nothing."', 'because = "Only a benchmark."',
        "[falsifiable]", 'claim = "None."', "expr = 'last(\"state.parse_failures\") == 0.0'", 'within = "7d"',
        "[retired_when]", 'claim = "None."', "expr = 'last(\"state.parse_failures\") > 1.0'",
        'after = "2030-01-01T00:00:00Z"', "[detect]", 'engine = "ast-grep/0.51"',
    ]
    for call in calls:
        rule_id = re.sub("[^a-z0-9]+", "-", call.lower()).strip("-")
        lines += ["[[detect.rules]]", f'id = "{rule_id}"', 'mode = "ast"', 'language = "python"', 'message = "a call"',
                  "[detect.rules.rule]", f'pattern = "{call}($$$A)"']
    first = calls[0]
    lines += ["[fix]", 'class = "none"']
    for code in (f"{first}(a)\\n", f"x = {first}(b, c)\\n"):
        lines += ["[[tests.positive]]", 'path = "a.py"', f'code = "{code}"']
    for code in ("pass\\n", f"x = {first}\\n"):
        lines += ["[[tests.negative]]", 'path = "a.py"', f'code = "{code}"']
    rules = [{"id": f"{name}--{n}", "language": "python", "rule": {"pattern": f"{call}($$$A)"}, "message": "a call",
              "ignores": []} for n, call in enumerate(calls)]
    return "\n".join(lines) + "\n", rules


def of_lesson(lesson):
    """The syntax rules of a lesson."""
    excluded = lesson["detect"].get("scope", {}).get("exclude", [])
    for rule in lesson["detect"]["rules"]:
        if rule["mode"] == "ast":
            yield {**rule, "id": f"{lesson['id']}--{rule['id']}", "ignores": excluded}


def ast_grep(rule):
    """The rule in ast-grep's own words, which it takes as JSON too."""
    own = {key: rule[key] for key in ("id", "language", "rule", "constraints", "utils", "message") if rule.get(key)}
    if rule["ignores"]:
        own["ignores"] = rule["ignores"]
    return own


def semgrep(rule):
    """The rule for semgrep, or None where it has no words for it (kinds, fields, utils, relations)."""
    try:
        patterns = semgrep_patterns(rule["rule"])
        for name, constraint in rule.get("constraints", {}).items():
            if set(constraint) != {"regex"}:
                raise KeyError(name)
            patterns.append({"metavariable-regex": {"metavariable": f"${name}", "regex": constraint["regex"]}})
    except KeyError:
        return None
    return {"id": rule["id"], "languages": [rule["language"]], "severity": "INFO", "message": rule["message"],
            "patterns": patterns, "paths": {"exclude": rule["ignores"]}}


def semgrep_patterns(node):
    """The rule object as a list of patterns that all must hold; KeyError where it cannot be said."""
    patterns = []
    for key, value in node.items():
        if key == "pattern":
            text = value if isinstance(value, str) else value["context"]
            patterns.append({"pattern": re.sub(r"\$\$\$[A-Z_]*", "...", text)})
        elif key == "any":
            patterns.append({"pattern-either": [{"patterns": semgrep_patterns(part)} for part in value]})
        elif key == "all":
            for part in value:
                patterns += semgrep_patterns(part)
        elif key == "not" and set(value) == {"pattern"}:
            patterns.append({"pattern-not": semgrep_patterns(value)[0]["pattern"]})
        else:
            raise KeyError(key)
    return patterns


def literals(rule):
    """Plain words that ripgrep can look for: the longest name in each pattern of the rule."""
    words = []
    for text in re.findall(r'"(?:pattern|context)": "((?:[^"\\]|\\.)*)"', json.dumps(rule["rule"])):
        names = re.findall(r"(?<![$\w])[A-Za-z_][\w.]{2,}", text)
        words += [max(names, key=len)] if names else []
    return words
