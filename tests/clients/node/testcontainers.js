// SPDX-License-Identifier: Apache-2.0
// testcontainers: a database and a web server as a test suite starts them, with every wait strategy. argv: folder of a compose project, "leave" to end without stopping anything.
const assert = require("node:assert");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { DockerComposeEnvironment, GenericContainer, Network, Wait, getContainerRuntimeClient } = require("testcontainers");

const [folder, leave] = process.argv.slice(2);

function ask(host, port, text) {
	return new Promise((resolve, reject) => {
		let said = "";
		const s = net.connect(port, host, () => s.end(text));
		s.setTimeout(10000, () => s.destroy(new Error("silent")));
		s.on("data", (d) => (said += d)).on("end", () => resolve(said)).on("error", reject);
	});
}

async function database(network) {
	const c = await new GenericContainer("postgres:16")
		.withEnvironment({ POSTGRES_PASSWORD: "pw" })
		.withExposedPorts(5432)
		.withNetwork(network)
		.withNetworkAliases("db", "database")
		.withCopyContentToContainer([{ content: "echo copied >$PGDATA/key.init\n", target: "/docker-entrypoint-initdb.d/1.sh", mode: 0o755 }])
		.withWaitStrategy(Wait.forAll([Wait.forLogMessage("database system is ready to accept connections"), Wait.forListeningPorts()]))
		.start();
	assert.equal(await ask(c.getHost(), c.getMappedPort(5432), "pw\nGET init\n"), "copied\n");
	return c;
}

async function web(network) {
	fs.writeFileSync(path.join(folder, "page.html"), "a page\n");
	const c = await new GenericContainer("nginx:alpine")
		.withExposedPorts(80)
		.withNetwork(network)
		.withCopyFilesToContainer([{ source: path.join(folder, "page.html"), target: "/usr/share/nginx/html/page.html" }])
		.withTmpFs({ "/scratch": "rw,size=65536k" })
		.withHealthCheck({ test: ["CMD-SHELL", "wget -qO- http://127.0.0.1/page.html"], interval: 200, timeout: 3000, retries: 20 })
		.withWaitStrategy(Wait.forHealthCheck())
		.start();
	assert.equal(await (await fetch(`http://${c.getHost()}:${c.getMappedPort(80)}/page.html`)).text(), "a page\n");
	const x = await c.exec(["sh", "-c", "printf 'pw\\nPUT a from web\\nGET a\\n' | nc database 5432; echo err >&2; exit 4"]);
	assert.deepEqual([x.stdout, x.stderr, x.exitCode], ["ok\nfrom web\n", "err\n", 4]);
	await c.copyContentToContainer([{ content: "later\n", target: "/usr/share/nginx/html/later" }]);
	assert.equal(await (await fetch(`http://localhost:${c.getMappedPort(80)}/later`)).text(), "later\n");
	const archive = await c.copyArchiveFromContainer("/usr/share/nginx/html/later");
	let bytes = 0;
	for await (const chunk of archive) bytes += chunk.length;
	assert.ok(bytes >= 1024);
	await c.restart();
	assert.equal(await (await fetch(`http://${c.getHost()}:${c.getMappedPort(80)}/later`)).text(), "later\n");
	const lines = [];
	(await c.logs()).on("data", (l) => lines.push(l));
	while (!lines.join("").includes("ready for start up")) await new Promise((r) => setTimeout(r, 20));
	return c;
}

async function others() {
	const once = await new GenericContainer("busybox").withCommand(["sh", "-c", "exit 0"]).withWaitStrategy(Wait.forOneShotStartup()).start();
	await once.stop();
	await assert.rejects(new GenericContainer("busybox").withCommand(["sh", "-c", "exit 1"]).withWaitStrategy(Wait.forOneShotStartup()).start());
	await assert.rejects(new GenericContainer("busybox").withCommand(["sleep", "1000"]).withWaitStrategy(Wait.forLogMessage("never").withStartupTimeout(500)).start());
	const http = await new GenericContainer("nginx:alpine").withExposedPorts(80).withWaitStrategy(Wait.forHttp("/", 80).forStatusCode(200)).start();
	const shell = await new GenericContainer("busybox").withCommand(["sh", "-c", "sleep 0.5; touch /ready; sleep 1000"]).withWaitStrategy(Wait.forSuccessfulCommand("test -e /ready")).start();
	const image = await GenericContainer.fromDockerfile(path.join(folder, "built here")).withBuildArgs({ WHAT: "arg" }).build();
	const built = await image.withWaitStrategy(Wait.forLogMessage(/built with arg/)).start();
	const runtime = await getContainerRuntimeClient();
	const committed = await built.commit({ repo: "committed", tag: "x", deleteOnExit: true });
	assert.ok((await runtime.image.exists({ string: "committed:x" })) || committed);
	await Promise.all([http.stop(), shell.stop(), built.stop()]);
	const reused = () => new GenericContainer("busybox").withCommand(["sleep", "1000"]).withReuse().withLabels({ of: folder }).start();
	const [first, second] = [await reused(), await reused()];
	assert.equal(first.getId(), second.getId());
	await second.stop();
}

async function composed() {
	const up = await new DockerComposeEnvironment(folder, "compose.yaml").withWaitStrategy("db-1", Wait.forHealthCheck()).up();
	const db = up.getContainer("db-1");
	assert.equal(await ask(db.getHost(), db.getMappedPort(5432), "pw\nKEYS\n"), "");
	await up.down();
}

async function main() {
	const network = await new Network().start();
	const db = await database(network);
	const w = await web(network);
	if (leave) {
		console.log("left running");
		process.exit(0);
	}
	await others();
	if (process.env.WITH_COMPOSE) await composed();
	await Promise.all([db.stop(), w.stop()]);
	await network.stop();
	console.log("all done");
	process.exit(0);
}

main().catch((e) => {
	console.error(e);
	process.exit(1);
});
