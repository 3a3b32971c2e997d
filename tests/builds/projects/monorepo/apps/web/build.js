const fs = require("fs");

fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/index.html", fs.readFileSync("public/index.html", "utf8").replace("TITLE", require("shared").title));
