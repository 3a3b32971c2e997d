// SPDX-License-Identifier: Apache-2.0
// dockerode, which asks without a version, does what its users do; every step asserts. argv: name, scratch folder. The engine is DOCKER_HOST's.
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { PassThrough } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const Docker = require("dockerode");
const tar = require("tar-fs");

const [name, folder] = process.argv.slice(2);
const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });

function collect(stream) {
	const chunks = [];
	stream.on("data", (c) => chunks.push(c));
	return () => Buffer.concat(chunks).toString();
}

async function ended(stream) {
	await new Promise((resolve, reject) => stream.on("end", resolve).on("close", resolve).on("error", reject));
}

function outputs() {
	const out = new PassThrough(), err = new PassThrough();
	return { out, err, text: collect(out), errors: collect(err) };
}

async function run() {
	const o = outputs();
	const [data] = await docker.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"], [o.out, o.err], { Tty: false, name, HostConfig: { AutoRemove: true } });
	assert.equal(data.StatusCode, 3);
	assert.equal(o.text(), "out\n");
	assert.equal(o.errors(), "err\n");
}

async function attach() {
	const c = await docker.createContainer({ Image: "busybox", Cmd: ["cat"], name, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true });
	const stream = await c.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
	const o = outputs();
	docker.modem.demuxStream(stream, o.out, o.err);
	await c.start();
	const text = "x".repeat(200000) + "\n";
	stream.write(text);
	stream.end();
	await ended(stream);
	assert.equal((await c.wait()).StatusCode, 0);
	assert.equal(o.text().length, text.length);
	await c.remove();
}

async function exec(c) {
	const x = await c.exec({ Cmd: ["sh", "-c", "cat; echo $A >&2; exit 6"], Env: ["A=b c"], AttachStdin: true, AttachStdout: true, AttachStderr: true });
	const stream = await x.start({ hijack: true, stdin: true });
	const o = outputs();
	docker.modem.demuxStream(stream, o.out, o.err);
	stream.write("typed\n");
	stream.end();
	await ended(stream);
	assert.equal(o.text(), "typed\n");
	assert.equal(o.errors(), "b c\n");
	let found;
	do found = await x.inspect(); while (found.Running);
	assert.equal(found.ExitCode, 6);
	const missing = await c.exec({ Cmd: ["nosuch"], AttachStdout: true });
	await ended((await missing.start({})).resume());
	assert.ok([126, 127].includes((await missing.inspect()).ExitCode));
}

async function many(c) {
	const work = Array.from({ length: 32 }, async (_, i) => {
		const x = await c.exec({ Cmd: ["echo", `${i}`], AttachStdout: true });
		const stream = await x.start({});
		const o = outputs();
		docker.modem.demuxStream(stream, o.out, o.err);
		await ended(stream);
		return o.text();
	});
	assert.deepEqual(await Promise.all(work), Array.from({ length: 32 }, (_, i) => `${i}\n`));
}

async function logs(c) {
	const stream = await c.logs({ follow: true, stdout: true, stderr: true, tail: -1, since: Date.now() / 1000 - 1000.5 });
	const o = outputs();
	docker.modem.demuxStream(stream, o.out, o.err);
	await new Promise((resolve) => o.out.on("data", () => /line 3/.test(o.text()) && resolve()));
	stream.destroy();
	const all = await c.logs({ stdout: true, timestamps: true, tail: 1 });
	assert.match(all.toString(), /\d\d\d\d-\d\d-\d\dT.*Z line 3\n/);
}

async function stats(c) {
	const one = await c.stats({ stream: false });
	assert.ok(one.memory_stats.usage > 0 && one.networks.eth0 && one.precpu_stats.system_cpu_usage > 0);
	const stream = await c.stats({ stream: true });
	const text = collect(stream);
	await new Promise((resolve) => stream.on("data", () => text().split("\n").length > 2 && resolve()));
	assert.equal(JSON.parse(text().split("\n")[0]).id, c.id);
	stream.destroy();
}

async function archives(c) {
	const source = path.join(folder, "files 日本");
	fs.mkdirSync(source, { recursive: true });
	fs.writeFileSync(path.join(source, "a b"), "content\n".repeat(10000));
	await c.putArchive(tar.pack(source), { path: "/tmp" });
	const back = path.join(folder, "back");
	await pipeline(await c.getArchive({ path: "/tmp/a b" }), tar.extract(back));
	assert.equal(fs.readFileSync(path.join(back, "a b"), "utf8"), "content\n".repeat(10000));
	const about = await c.infoArchive({ path: "/tmp/a b" });
	const stat = JSON.parse(Buffer.from(about.headers["x-docker-container-path-stat"], "base64").toString());
	assert.equal(stat.size, 80000);
	await assert.rejects(c.getArchive({ path: "/nosuch" }), { statusCode: 404 });
}

async function events(work) {
	const stream = await docker.getEvents({ filters: { container: [name] } });
	const text = collect(stream);
	await work();
	const seen = () => text().split("\n").filter(Boolean).map((l) => JSON.parse(l).Action);
	while (!seen().includes("destroy")) await new Promise((r) => setTimeout(r, 20));
	stream.destroy();
	await assert.rejects(docker.getContainer(name).inspect(), { statusCode: 404 });
	assert.deepEqual(seen().filter((a) => ["create", "start", "die", "destroy"].includes(a)), ["create", "start", "die", "destroy"]);
}

async function build() {
	const context = path.join(folder, "context");
	fs.mkdirSync(context);
	fs.writeFileSync(path.join(context, "Dockerfile"), "FROM busybox\nARG A\nRUN echo $A >/a\nCOPY Dockerfile /D\n");
	const stream = await docker.buildImage({ context, src: ["Dockerfile"] }, { t: `${name}:b`, buildargs: { A: "z" } });
	const output = await new Promise((resolve, reject) => docker.modem.followProgress(stream, (e, o) => (e ? reject(e) : resolve(o))));
	assert.ok(output.some((o) => o.aux && o.aux.ID));
	const image = docker.getImage(`${name}:b`);
	assert.ok((await image.history()).length >= 3);
	await image.tag({ repo: `${name}-again`, tag: "x" });
	assert.equal((await docker.listImages({ filters: { reference: [`${name}*`] } })).length, 1);
	await docker.getImage(`${name}-again:x`).remove();
	await image.remove();
	await assert.rejects(image.inspect(), { statusCode: 404, message: /no such image/i });
}

// BuildKit: its session serves accounts only, and the one that is given for every host.
async function buildWithBuildKit() {
	const context = path.join(folder, "context");
	const authconfig = JSON.parse(process.env.PRIVATE_ACCOUNT);
	fs.writeFileSync(path.join(context, "Dockerfile"), `FROM ${process.env.PRIVATE_IMAGE}\nRUN --mount=type=tmpfs,target=/t echo of BuildKit >/a\n`);
	const stream = await docker.buildImage({ context, src: ["Dockerfile"] }, { t: `${name}:k`, version: "2", pull: "1", authconfig });
	const output = await new Promise((resolve, reject) => docker.modem.followProgress(stream, (e, o) => (e ? reject(e) : resolve(o))));
	assert.ok(output.some((o) => o.id === "moby.buildkit.trace" && Buffer.from(o.aux, "base64").includes("exporting to image")));
	const image = docker.getImage(`${name}:k`);
	assert.equal((await image.inspect()).Id, output.at(-1).aux.ID);
	await image.remove();
}

async function networks() {
	const network = await docker.createNetwork({ Name: `${name}n`, CheckDuplicate: true, Labels: { a: "b" } });
	const volume = await docker.createVolume({ Name: `${name}v` });
	const c = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], StopSignal: "SIGKILL", HostConfig: { Binds: [`${name}v:/v`] },
		NetworkingConfig: { EndpointsConfig: { [`${name}n`]: { Aliases: ["nick"] } } } });
	await c.start();
	assert.ok((await c.inspect()).NetworkSettings.Networks[`${name}n`].IPAddress);
	assert.ok((await network.inspect()).Containers[c.id]);
	await assert.rejects(docker.getVolume(`${name}v`).remove(), { statusCode: 409 });
	await c.stop({ t: 0 });
	await assert.rejects(c.stop({ t: 0 }), { statusCode: 304 });
	await c.remove({ v: true, force: true });
	await network.remove();
	assert.ok(volume.name === `${name}v` && (await docker.listVolumes()).Volumes.some((v) => v.Name === `${name}v`));
	await docker.getVolume(`${name}v`).remove();
}

async function main() {
	assert.equal((await docker.ping()).toString(), "OK");
	assert.equal((await docker.info()).OSType, "linux");
	await events(run);
	await attach();
	const c = await docker.createContainer({ Image: "busybox", name, Cmd: ["sh", "-c", "for i in 1 2 3; do echo line $i; done; sleep 1000"], StopSignal: "SIGKILL" });
	await c.start();
	for (const step of [exec, many, logs, stats, archives]) await step(c);
	const { Id } = await c.commit({ repo: `${name}c` });
	assert.match(Id, /^sha256:/);
	await docker.getImage(`${name}c`).remove();
	assert.ok((await c.top()).Processes.length >= 1);
	await c.resize({ h: 10, w: 20 }).catch((e) => assert.ok(e.statusCode));
	await c.remove({ force: true });
	await build();
	await buildWithBuildKit();
	await networks();
	console.log("all done");
	process.exit(0); // streams that were not read to their end keep node waiting
}

main().catch((e) => {
	console.error(e);
	process.exit(1);
});
