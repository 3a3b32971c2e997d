/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of proxies, and the URLs that they are asked about: three lines, of NO_PROXY, the proxy and the URL. */
#include "registry/proxy.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_strv_ char **lines = text ? strv_split(text, '\n') : NULL;
	ProxyRules r = {0};

	if (strv_len(lines) < 3)
		return 0;
	if (proxy_rules_parse(lines[1], lines[1], lines[0], &r, NULL) < 0)
		return 0;
	(void)proxy_for(&r, lines[2]);
	_cleanup_free_ char *shown = r.http ? proxy_shown(r.http) : NULL;
	proxy_rules_done(&r);
	return 0;
}
