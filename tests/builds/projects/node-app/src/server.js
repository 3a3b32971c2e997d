const http = require("http");
const greet = require("greet");

http.createServer((_, res) => res.end(`${greet("node")} __VERSION__ as ${process.getuid()}\n`)).listen(8080, () => console.log("listens"));
process.on("SIGTERM", () => process.exit(0));
