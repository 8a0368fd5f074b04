# SPDX-License-Identifier: MIT
"""What the end-to-end tests stand on: real Envoys, their configs, a running baton, load, an upstream."""
