"""The video API: creates uploads, tells where videos stand, and grants playback.

Handlers (:mod:`media_api.routes`) read requests and write answers, logic (:mod:`media_api.videos`,
:mod:`media_api.playback`) decides, and data access (:mod:`media_api.store`,
:mod:`media_api.uploads`, :mod:`media_api.delivery`) talks to AWS. Media bytes never pass through.
"""
