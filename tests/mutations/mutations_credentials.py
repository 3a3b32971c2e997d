# SPDX-License-Identifier: Apache-2.0
"""Credentials: whom they are sent to, what is left of them in memory, and how they lie on a disk."""
from mutation import EVERYTHING, Mutation

LOGIN = "test_login.py::"

ALL = [
    Mutation(
        "any-token-server", "a registry that names a token server of somebody else's, which is then given the password",
        [LOGIN + "test_token_server_elsewhere"],
        "src/registry/token.c:token_server_is_trusted", "every token server gets the credentials",
        [("src/registry/token.c", "	return auth_realm_is_trusted(host, realm_host);", "	return true;")], EVERYTHING),
    Mutation(
        "credentials-of-another-host", "a pull from one registry with the password for another", [LOGIN + "test_credentials_go_to_their_host_alone"],
        "src/oci/credentials.c:find_entry", "the first entry of config.json is taken for every registry",
        [("src/oci/credentials.c", "		if (!json_is_object(v) || !same_server(key, server))", "		if (!json_is_object(v))")], EVERYTHING),
    Mutation(
        "memory-not-wiped", "a core dump, or the next user of the same memory, that shows passwords of earlier requests", [LOGIN + "test_engine_forgets"],
        "src/base/secret.c:secret_free", "what held a secret is freed as it is",
        [("src/base/secret.c", "	if (p)\n		explicit_bzero(p, malloc_usable_size(p));\n", "")], EVERYTHING),
    Mutation(
        "password-among-processes", "a password in /proc/PID/cmdline", [LOGIN + "test_a_password_in_the_arguments"],
        "src/cmd/ireko/login.c:wipe_argument", "the argument stays in sight",
        [("src/cmd/ireko/login.c", "	explicit_bzero((char *)text, strlen(text));\n", "	(void)text;\n")], EVERYTHING),
    Mutation(
        "memory-for-the-same-user", "reading the memory of a program that has passwords, as its own user", [LOGIN + "test_a_password_in_the_arguments"],
        "src/base/secret.c:secret_process", "the process stays dumpable",
        [("src/base/secret.c", "prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)", "prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)")], EVERYTHING),
    Mutation(
        "helper-by-path", "a config.json whose credential helper is a program somewhere else", [LOGIN + "test_helper_that_fails"],
        "src/oci/credentials.c:check_helper", "any name will do",
        [("src/oci/credentials.c", "	bool good = n > 0 && n <= HELPER_NAME_MAX && *name != '-' && *name != '.';", "	bool good = true;"),
         ("src/oci/credentials.c", "		good &= isalnum((unsigned char)name[i]) || strchr(\"-_.+\", name[i]) != NULL;", "		;")], EVERYTHING),
    Mutation(
        "helper-without-end", "a credential helper that hangs", [LOGIN + "test_helper_that_fails"],
        "src/cmd/ireko/credential-helper.c:converse", "it is waited for, however long it takes",
        [("src/cmd/ireko/credential-helper.c", "		if (left_ms <= 0)", "		if (left_ms <= INT64_MIN)")], EVERYTHING),
    Mutation(
        "readable-by-others", "credentials that other users can read", [LOGIN + "test_kept_encrypted"],
        "src/cmd/docker-credential-ireko/vault.c:write_sealed", "the file gets the usual mode",
        [("src/cmd/docker-credential-ireko/vault.c", "sizeof(h) + len, 0600, true);", "sizeof(h) + len, 0644, true);")], EVERYTHING),
    Mutation(
        "not-encrypted", "credentials on a disk", [LOGIN + "test_kept_encrypted"],
        "src/cmd/docker-credential-ireko/vault.c:run_cipher", "nothing is encrypted, and nothing is authenticated",
        [("src/cmd/docker-credential-ireko/vault.c", "	_cleanup_(cipher_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();\n",
          "	_cleanup_(cipher_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();\n	memcpy(out, in, len);\n	return true;\n")], EVERYTHING),
]
