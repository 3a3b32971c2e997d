const fs = require("fs");

for (const name of fs.readdirSync("pages")) {
	const title = fs.readFileSync(`pages/${name}`, "utf8").trim().replace(/^# /, "").replace("&", "&amp;");
	fs.writeFileSync(`out/${name.replace(".md", ".html")}`, `<h1>${title}</h1>\n`);
}
