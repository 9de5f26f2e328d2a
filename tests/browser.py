"""browser.py: a chromium without a window, which a test drives by the DevTools protocol: JSON on two pipes, a NUL
behind each message.

Read next: test_trace.py, which looks at a trace with it.
"""

import base64
import json
import os
import select
import shutil
import time

import harness

PATIENCE = 120  # seconds for an answer, on a host with other work


class Browser:
    """A page of a browser of its own: `with Browser(t) as browser: browser.open(url); browser.js(expression)`."""

    OPTIONS = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-crash-reporter", "--allow-file-access-from-files", "--window-size=1600,1000",
               "--remote-debugging-pipe"]

    def __init__(self, t):
        self.t, self.number, self.session, self.buffer = t, 0, None, b""
        if not shutil.which("chromium"):
            t.skip("there is no chromium")
        self.profile = os.path.join(t.scratch, "chromium")
        theirs, self.output = os.pipe()
        self.input, answers = os.pipe()
        options = self.OPTIONS + ["--user-data-dir=" + self.profile]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # chromium has none for root, and refuses to start
        with open(os.path.join(t.scratch, "chromium.log"), "wb") as log:
            self.process = harness.start(["bash", "-c", 'exec "$@" 3<&%d 4>&%d' % (theirs, answers), "bash",
                                          "chromium"] + options,
                                         pass_fds=(theirs, answers), stdout=log, stderr=log)
        os.close(theirs)
        os.close(answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        harness.end_group(self.process, 9)
        harness.finish(self.process, 60)
        os.close(self.output)
        os.close(self.input)
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method, **parameters):
        """Sends a command of the protocol and returns its result; what the browser says in between is left out."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.output, data):]
        while True:
            answer = json.loads(self.receive())
            if answer.get("id") == self.number:
                self.t.check("error" not in answer, "%s: %s" % (method, answer.get("error")))
                return answer["result"]

    def receive(self):
        while b"\0" not in self.buffer:
            self.t.check(select.select([self.input], [], [], PATIENCE)[0], "chromium does not answer")
            piece = os.read(self.input, 1 << 20)
            self.t.check(piece, "chromium has ended: see chromium.log beside the log")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return message

    def open(self, url):
        target = self.send("Target.createTarget", url=url)["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def js(self, expression):
        """Returns the value of an expression of JavaScript; waits for it when it is a promise."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        self.t.check("exceptionDetails" not in result, "JavaScript: %s" % result.get("exceptionDetails"))
        return result["result"].get("value")

    def wait(self, expression):
        """Waits until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.js(expression):
            self.t.check(time.monotonic() < deadline, "this never became true: " + expression)
            time.sleep(0.2)

    def picture(self, path):
        """Writes what the page shows as a PNG."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
