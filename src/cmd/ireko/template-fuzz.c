/* SPDX-License-Identifier: Apache-2.0 */
/* A template over a document of the engine's, in each way that it is used. What goes to a terminal has no control bytes but line breaks and tabs. */
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char document[] = "{\"ID\":\"abc\",\"Names\":\"web\",\"Name\":\"/"
			       "web\",\"State\":{\"Pid\":42,\"Running\":true,\"Health\":null,\"Load\":1.5},"
			       "\"Config\":{\"Env\":[\"A=1\",\"B=2\"],\"Labels\":{\"a.b\":\"\\u001b[31m<x>\"}"
			       ",\"Cmd\":null},\"Mounts\":[{\"Source\":\"/s\"},{}],"
			       "\"Ports\":{\"80/tcp\":[{\"HostIp\":\"::\",\"HostPort\":\"1\"}],\"90/"
			       "udp\":{}},\"Labels\":\"a=b\",\"\\u0001labels\":{\"a.b\":\"c-d\"}}";

static void check(const StrBuf *out)
{
	for (size_t i = 0; i < out->len; i++) {
		unsigned char c = (unsigned char)out->s[i];

		if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const TemplateFlags ways[] = {0, TEMPLATE_STRICT | TEMPLATE_SORT_KEYS, TEMPLATE_HEADING,
					     TEMPLATE_STRICT | TEMPLATE_INSPECT};
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_json_ json_t *doc = json_loads(document, 0, NULL);
	_cleanup_template_ Template *t = NULL;
	bool plain = true;

	for (const char *p = text; p && *p; p++)
		plain = plain && ((unsigned char)*p >= ' ' || *p == '\n' || *p == '\t') && *p != 0x7F;
	if (!text || !doc || template_parse(text, &t, NULL) < 0)
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
		_cleanup_strbuf_ StrBuf out = {0}, shown = {0};

		(void)template_execute(t, doc, ways[i], &out, NULL);
		(void)template_execute(t, doc, ways[i] | TEMPLATE_ESCAPE, &shown, NULL);
		/* The template's own text is the user's. */
		if (plain)
			check(&shown);
	}
	return 0;
}
