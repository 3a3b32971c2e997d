/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a program: lines on stderr, "time level message" for people, an object {"level", "msg", "time"} for programs, or, under
 * systemd, with the <N> priority prefix of sd-daemon(3). Only mains, request handlers and background loops log; libraries return an Err.
 * Control bytes in a message are shown as \xNN, so that what a container named itself cannot drive a terminal.
 */
#pragma once

#include "base/err.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

void log_init(LogLevel least);
/* May be changed at any time. */
void log_set_level(LogLevel least);
void log_set_json(bool json);
int log_level_parse(const char *name, LogLevel *ret);
void log_at(LogLevel level, const char *fmt, ...) _printf_(2, 3);

#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
